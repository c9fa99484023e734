// What the loop counts: EngineStats, and the record of a step.
#include <algorithm>
#include <cmath>

#include "engine/loop.h"

namespace sluice::engine {
namespace {

double seconds(int64_t ns) {
  return static_cast<double>(ns) * 1e-9;
}

}  // namespace

// What the step had to move and compute, beside what the machine could do in its time.
void Loop::count_work() {
  const StepWork& work = shape_.work;
  int64_t context = 0;
  for (const StepPart& part : current_.records) context += part.context_before + part.tokens;
  const double bytes = work.step_bytes + work.context_token_bytes * static_cast<double>(context);
  const double operations = work.token_operations * static_cast<double>(current_.rows) +
                            work.logit_row_operations * static_cast<double>(current_.jobs.size());
  stats_.step_s += static_cast<double>(record_.forward_ns) * 1e-9;
  stats_.step_read_bytes += bytes;
  stats_.step_operations += operations;
  const MachineLimits& machine = config_.machine;
  if (machine.read_bytes_per_s > 0 && machine.operations_per_s > 0)
    stats_.step_limit_s +=
        std::max(bytes / machine.read_bytes_per_s, operations / machine.operations_per_s);
}

void Loop::measure_speed(int64_t rows) {
  constexpr double kSmoothing = 0.1;
  constexpr int64_t kPrefillTokensMin = 16;  // fewer say little
  const auto follow = [](double* mean, double value) {
    *mean += *mean == 0 ? value : kSmoothing * (value - *mean);
  };
  const double step_s = seconds(record_.forward_ns + record_.sampling_ns);
  if (step_s <= 0) return;
  int64_t prefill = 0;
  for (const StepPart& part : current_.records)
    if (part.kind == StepPart::Kind::kPrefill) prefill += part.tokens;
  if (prefill == 0) {
    // With drafts a sequence gets several tokens from a step.
    const auto sequences = static_cast<double>(current_.parts.size());
    const double tokens = std::max(static_cast<double>(token_events_.size()), sequences);
    follow(&stats_.decode_tokens_per_s, tokens / step_s);
    follow(&stats_.decode_step_s, step_s * sequences / tokens);
    step_times_.add(rows, record_.forward_ns + record_.sampling_ns);
  } else if (prefill >= kPrefillTokensMin) {
    follow(&stats_.prefill_tokens_per_s, static_cast<double>(prefill) / step_s);
  }
}

void Loop::count_finished(const Sequence& s, const FinishEvent& event, int64_t now_ns) {
  ++record_.ended;
  ++stats_.finished[static_cast<size_t>(event.reason)];
  // A place gets free as often as a request ends.
  constexpr double kSmoothing = 0.1;
  if (last_finish_ns_) {
    const auto interval = static_cast<double>(now_ns - *last_finish_ns_);
    const auto mean =
        stats_.retry_after_ns > 0 ? static_cast<double>(stats_.retry_after_ns) : interval;
    stats_.retry_after_ns = std::llround(mean + kSmoothing * (interval - mean));
  }
  last_finish_ns_ = now_ns;
  if (event.reason != FinishReason::kStop && event.reason != FinishReason::kLength) return;
  stats_.e2e_s.add(seconds(now_ns - s.submitted_ns));
  stats_.queue_s.add(seconds(event.queue_ns));
  stats_.prefill_s.add(seconds(event.prefill_ns));
  stats_.decode_s.add(seconds(event.decode_ns));
  stats_.inference_s.add(seconds(event.prefill_ns + event.decode_ns));
  count_target(s, now_ns);
  if (event.completion_tokens > 1)
    stats_.time_per_output_token_s.add(seconds(event.decode_ns) /
                                       static_cast<double>(event.completion_tokens - 1));
  stats_.request_prompt_tokens.add(static_cast<double>(event.prompt_tokens));
  stats_.request_generation_tokens.add(static_cast<double>(event.completion_tokens));
  stats_.request_max_tokens.add(static_cast<double>(s.tokens_max - s.prompt_tokens));
}

void Loop::count_target(const Sequence& s, int64_t now_ns) {
  const Target& target = s.target;
  if (target.ttft_ns == 0 && target.tpot_ns == 0 && target.total_ns == 0) return;
  const int64_t first_ns = s.first_token_ns.value_or(now_ns);
  const int64_t gaps = std::max<int64_t>(s.outputs() - 1, 1);
  const auto within = [](int64_t taken_ns, int64_t limit_ns) {
    return limit_ns == 0 || taken_ns <= limit_ns;
  };
  const bool met = within(first_ns - s.submitted_ns, target.ttft_ns) &&
                   within((s.last_token_ns - first_ns) / gaps, target.tpot_ns) &&
                   within(now_ns - s.submitted_ns, target.total_ns);
  ++(met ? stats_.targets_met : stats_.targets_missed);
}

void Loop::update_gauges() {
  const kv::PageCounts pages = cache_.counts();
  stats_.queued_tokens = 0;
  for (const Owned& s : waiting_) stats_.queued_tokens += s->known();
  for (const Owned& s : running_) stats_.queued_tokens += s->known() - s->computed;
  stats_.waiting = static_cast<int64_t>(waiting_.size());
  stats_.running = static_cast<int64_t>(running_.size());
  stats_.pages_used = pages.used;
  stats_.pages_cached = pages.cached;
  record_.parts = current_.records;
  record_.pages_free = pages.free;
  record_.pages_cached = pages.cached;
  record_.pages_used = pages.used;
}

}  // namespace sluice::engine
