#include "apps/bench/engine_load.h"

#include <algorithm>

#include "core/math.h"
#include "engine/sequence.h"

namespace sluice::apps {
namespace {

double seconds(int64_t ns) {
  return static_cast<double>(ns) * 1e-9;
}

engine::EngineConfig make_config(const model::Model& model, const EngineLoad::Config& config) {
  engine::EngineConfig engine;
  engine::EngineLimits& limits = engine.limits;
  limits.sequences_max = config.streams;
  limits.context_tokens_max = config.tokens_max;
  limits.step_tokens_max = config.step_tokens_max;
  limits.chunk_tokens_max = config.step_tokens_max;
  limits.kv_pages = model.kv_pages();
  const bool drafts = config.speculation != engine::Speculation::kOff;
  limits.logit_rows_max = config.streams + (drafts ? engine::kDraftRowsMax : 0);
  limits.logprobs_top_max = 0;
  engine.vocab_tokens = model.spec().vocab;
  engine.speculation = config.speculation;
  return engine;
}

}  // namespace

int64_t LoadTimes::answer_tokens() const {
  int64_t tokens = 0;
  for (const engine::FinishEvent& end : ends) tokens += end.completion_tokens;
  return tokens;
}

EngineLoad::Runner::Runner(model::Model& model, const core::Clock& clock)
    : runner_(model),
      profile_{
          .clock = clock,
          .threads = std::vector<model::StepTimes>(static_cast<size_t>(model.pool().threads()))},
      experts_(model.spec().experts.count),
      chosen_(experts_),
      routing_([this](int32_t, std::span<const int32_t> ids, std::span<const float>) {
        chosen_.see(ids, rows_);
      }) {}

void EngineLoad::Runner::start_profile(int64_t streams) {
  profiled_streams_ = streams;
  profiled_steps_ = profiled_ns_ = 0;
  std::fill(profile_.threads.begin(), profile_.threads.end(), model::StepTimes{});
  profile_.queue_ns.fill(0);
  chosen_ = ExpertCount(experts_);
}

DecodeProfile EngineLoad::Runner::take_profile() {
  profiled_streams_ = 0;
  const auto steps = static_cast<double>(profiled_steps_);
  return {.shares = step_shares(profile_, steps, static_cast<double>(profiled_ns_) * 1e-3 / steps),
          .expert_ratio = chosen_.ratio()};
}

bool EngineLoad::Runner::is_profiled(const model::StepBatch& batch) const {
  return std::ssize(batch.sequences) == profiled_streams_ &&
         std::ssize(batch.token_ids) == profiled_streams_ &&
         std::all_of(batch.sequences.begin(), batch.sequences.end(),
                     [](const model::SequenceSpan& span) { return span.first_position > 0; });
}

model::StepBatch EngineLoad::Runner::watch(const model::StepBatch& batch) {
  rows_ = batch.token_ids.size();
  model::StepBatch watched = batch;
  watched.profile = &profile_;
  watched.routing_observer = &routing_;
  return watched;
}

void EngineLoad::Runner::run(const model::StepBatch& batch, float* logits) {
  if (!is_profiled(batch)) return runner_.run(batch, logits);
  const int64_t begin_ns = profile_.clock.now_ns();
  runner_.run(watch(batch), logits);
  profiled_ns_ += profile_.clock.now_ns() - begin_ns;
  ++profiled_steps_;
}

// Of steps that overlap the time between their ends is theirs.
void EngineLoad::Runner::submit(const model::StepBatch& batch, const model::SampleBatch& sampled) {
  if (!is_profiled(batch)) return runner_.submit(batch, sampled);
  if (submitted_ns_ == 0) submitted_ns_ = profile_.clock.now_ns();
  runner_.submit(watch(batch), sampled);
}

void EngineLoad::Runner::collect(std::span<int32_t> ids) {
  runner_.collect(ids);
  if (submitted_ns_ == 0) return;
  const int64_t now_ns = profile_.clock.now_ns();
  profiled_ns_ += now_ns - submitted_ns_;
  submitted_ns_ = 0;
  ++profiled_steps_;
}

int64_t EngineLoad::kv_tokens(const Config& config, int64_t answer_tokens) {
  const auto whole_pages = [](int64_t tokens) {
    return core::round_up(tokens, kernels::kPageTokens) + kernels::kPageTokens;
  };
  return config.streams * (whole_pages(config.tokens_max) + whole_pages(answer_tokens));
}

EngineLoad::EngineLoad(model::Model& model, const Config& config)
    : runner_(model, clock_),
      config_(make_config(model, config)),
      parts_{.runner = &runner_,
             .pool = &model.pool(),
             .ops = &model.ops(),
             .clock = &clock_,
             .sink = [this](const engine::StepEvents& events) { take(events); },
             .observer = [this](const engine::StepRecord& record) { observe(record); }},
      loop_(config_, parts_) {}

void EngineLoad::submit(const Load& load, engine::Messages* messages) {
  for (size_t stream = 0; stream < load.prompts.size(); ++stream) {
    engine::Request request{.id = {stream}, .prompt_ids = load.prompts[stream]};
    request.sampling.temperature = load.temperature;
    request.sampling.seed = stream;
    request.sampling.max_tokens = load.answer_tokens;
    request.sampling.end_tokens = engine::SamplingParams::EndTokens::kNever;
    messages->arrivals.push_back(engine::make_sequence(request, config_, kernels::kPageTokens));
    messages->arrivals.back()->arrival = ++arrivals_;
    messages->arrivals.back()->submitted_ns = begin_ns_;
  }
}

LoadTimes EngineLoad::run(const Load& load, PrefixCache before) {
  times_ = {};
  times_.ends.resize(load.prompts.size());
  times_.answers.resize(load.prompts.size());
  decode_ = {};
  streams_begun_ = 0;
  begin_ns_ = clock_.now_ns();
  engine::Messages messages;
  submit(load, &messages);
  if (before == PrefixCache::kForget) messages.flush = engine::FlushCache::kYes;
  do {
    loop_.step(&messages);
    messages = {};
  } while (loop_.has_work());
  times_.wall_s = seconds(clock_.now_ns() - begin_ns_);
  return std::move(times_);
}

DecodeProfile EngineLoad::profile(const Load& load) {
  const model::ResidentCounts before = runner_.resident_counts();
  runner_.start_profile(std::ssize(load.prompts));
  run(load, PrefixCache::kKeep);
  DecodeProfile profile = runner_.take_profile();
  const model::ResidentCounts counts = runner_.resident_counts().since(before);
  profile.resident_hits = counts.hit_share();
  profile.pulled_share = counts.pulled_share();
  return profile;
}

void EngineLoad::take(const engine::StepEvents& events) {
  const bool all_had_begun = streams_begun_ == std::ssize(times_.answers);
  for (const engine::TokenEvent& event : events.tokens) {
    std::vector<int32_t>& answer = times_.answers[event.id.value];
    streams_begun_ += answer.empty() ? 1 : 0;
    answer.push_back(event.token_id);
  }
  if (all_had_begun)
    times_.later_tokens += std::ssize(events.tokens);
  else if (streams_begun_ == std::ssize(times_.answers))
    times_.prefill_s = seconds(clock_.now_ns() - begin_ns_);
  for (const engine::FinishEvent& event : events.finished) times_.ends[event.id.value] = event;
}

void EngineLoad::observe(const engine::StepRecord& record) {
  const bool all_decode =
      record.parts.size() == times_.answers.size() &&
      std::all_of(record.parts.begin(), record.parts.end(), [](const engine::StepPart& part) {
        return part.kind == engine::StepPart::Kind::kDecode && part.tokens == 1;
      });
  if (!all_decode) return;
  ++decode_.count;
  for (const engine::StepPart& part : record.parts)
    decode_.context_tokens += part.context_before + part.tokens;
  decode_.forward_ns += record.forward_ns;
  decode_.sampling_ns += record.sampling_ns;
  decode_.other_ns += record.other_ns;
}

}  // namespace sluice::apps
