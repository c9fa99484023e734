#include "gateway/routing/replica_tracker.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <ranges>

#include "gateway/routing/forecast.h"

namespace sluice::gateway {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// Spreads of ln(actual ÷ predicted) before anything was seen. A first token depends on who else
// arrives; the pace of the others less.
constexpr float kTtftSpread = 0.3F;
constexpr float kTpotSpread = 0.05F;
constexpr float kTotalSpread = 0.05F;

constexpr int64_t kNewsFreshNs = 1'000'000'000;
constexpr int64_t kTrialAfterNs = 60'000'000'000;
constexpr int64_t kTrialCount = 4;  // answers after which its speed is known
constexpr double kNearLimit = 0.75;
constexpr int64_t kSpreadKnown = 30;  // answers from which on only those near a limit are learnt
constexpr double kSlowRatio = 1.3;    // against its Speed
constexpr double kRecentWeight = 0.1;
constexpr double kRoundTripWeight = 0.2;
constexpr double kStallTpots = 10.0;
constexpr double kShownTokens = 16.0;  // that show a stream's pace
constexpr size_t kLatest = 5;          // streams whose median pace is the replica's now
constexpr int64_t kStallLeastNs = 5'000'000'000;

// Far below its limit a pace scatters otherwise than near it, where the spread decides.
bool near_limit(double predicted_ns, int64_t limit_ns) {
  return predicted_ns >= kNearLimit * static_cast<double>(limit_ns);
}

PacePromise promise_of(const contract::TargetPart& tpot) {
  if (tpot.limit_ns <= 0) return {};
  return {static_cast<float>(tpot.limit_ns),
          static_cast<float>(1.0 / miss_share_allowed(tpot.statistic, 0.0F))};
}

void blend(std::atomic<double>* average, double seen, double weight) {
  const double before = average->load(kRelaxed);
  average->store(before > 0.0 ? before + weight * (seen - before) : seen, kRelaxed);
}

}  // namespace

ReplicaTracker::ReplicaTracker(const contract::Replica& replica, int64_t pool_round_trip_ns)
    : id_(replica.id),
      speed_(replica.speed),
      line_(replica.speed),
      surface_(replica.speed),
      pace_(replica.speed),
      ttft_ratio_(kTtftSpread),
      tpot_ratio_(kTpotSpread),
      total_ratio_(kTotalSpread),
      round_trip_ns_(static_cast<double>(pool_round_trip_ns)),
      state_(contract::ReplicaState::kReady) {}

SentRequest ReplicaTracker::begin(const Sending& sending, int64_t now_ns) {
  SentRequest sent;
  sent.missing_tokens = std::max<int64_t>(sending.tokens.prompt_tokens - sending.cached_tokens, 1);
  sent.output_tokens = sending.tokens.output_tokens;
  sent.sent_ns = now_ns;
  sent.last_token_ns = now_ns;
  sent.tpot_limit_ns = sending.tpot.limit_ns;
  sent.raw = sending.raw;
  sent.place = running_.enter(promise_of(sending.tpot));
  sent.streams_at_start = streams_.fetch_add(1, kRelaxed) + 1;
  if (sent.streams_at_start == 1 && trial(now_ns) == Trial::kSlowLongAgo)
    sent.learn = SentRequest::Learn::kAnew;
  queued_prompt_tokens_.fetch_add(sent.missing_tokens, kRelaxed);
  output_tokens_left_.fetch_add(sent.output_tokens, kRelaxed);
  sent.is_sold_by_time = sending.is_sold_by_time;
  if (sent.is_sold_by_time) sent.share_before_ns = compute_.begin(now_ns);
  return sent;
}

void ReplicaTracker::first_token(SentRequest* request, int64_t now_ns) {
  if (request->first_token_ns != 0) return;
  request->first_token_ns = now_ns;
  request->last_token_ns = now_ns;
  queued_prompt_tokens_.fetch_sub(request->missing_tokens, kRelaxed);
  const auto ttft_ns = static_cast<double>(now_ns - request->sent_ns);
  running_.first_token(request->place, now_ns);
  request->tokens_before = output_tokens_.load(kRelaxed);
  request->prompt_tokens_before = prompt_tokens_.fetch_add(request->missing_tokens, kRelaxed);
  if (request->learn == SentRequest::Learn::kAnew) ttft_ratio_.forget();
  ttft_ratio_.add(ttft_ns, request->raw.ttft_ns);
  blend(&recent_ttft_ns_, ttft_ns, kRecentWeight);
}

void ReplicaTracker::tokens(SentRequest* request, int64_t count, int64_t now_ns) {
  output_tokens_.fetch_add(count - request->tokens_seen, kRelaxed);
  const int64_t left_before = request->tokens_left();
  request->tokens_seen = count;
  output_tokens_left_.fetch_sub(left_before - request->tokens_left(), kRelaxed);
  running_.tokens(request->place, count);
  request->last_token_ns = now_ns;
}

void ReplicaTracker::end(SentRequest* request, int64_t output_tokens, UpstreamOutcome outcome,
                         int64_t now_ns) {
  if (request->first_token_ns == 0)
    queued_prompt_tokens_.fetch_sub(request->missing_tokens, kRelaxed);
  output_tokens_.fetch_add(std::max<int64_t>(output_tokens - request->tokens_seen, 0), kRelaxed);
  running_.leave(request->place);
  if (request->is_sold_by_time)
    request->compute_ns = compute_.end(now_ns) - request->share_before_ns;
  if (outcome == UpstreamOutcome::kComplete) learn(*request, output_tokens, now_ns);
  output_tokens_left_.fetch_sub(request->tokens_left(), kRelaxed);
  streams_.fetch_sub(1, kRelaxed);
  health_.on_outcome(outcome, now_ns);
}

// What was predicted is held against what came with the surface as it is now: a speed that the
// surface has taken in since then is not learnt twice.
void ReplicaTracker::learn(const SentRequest& request, int64_t output_tokens, int64_t now_ns) {
  if (request.learn == SentRequest::Learn::kAnew) {
    surface_.forget();
    pace_.forget();
    tpot_ratio_.forget();
    total_ratio_.forget();
  }
  if (output_tokens > 0) lengths_.learn(output_tokens);
  learn_pace(request, output_tokens);
  const auto streams_at_start = static_cast<double>(request.streams_at_start);
  if (request.first_token_ns != 0 && output_tokens > 1) {
    const double tpot_ns = static_cast<double>(request.last_token_ns - request.first_token_ns) /
                           static_cast<double>(output_tokens - 1);
    surface_.add(0.5 * (streams_at_start + static_cast<double>(streams())), tpot_ns);
    const double predicted_ns = surface_.at_ns(streams_at_start);
    if (near_limit(predicted_ns, request.tpot_limit_ns) || tpot_ratio_.count() < kSpreadKnown)
      tpot_ratio_.add(tpot_ns, predicted_ns);
  }
  const double tpot_ns = surface_.at_ns(streams_at_start) * std::exp(tpot_ratio_.value().mean);
  const double predicted_ns =
      request.raw.ttft_ns * std::exp(ttft_ratio_.value().mean) +
      static_cast<double>(std::max<int64_t>(request.output_tokens - 1, 0)) * tpot_ns;
  total_ratio_.add(static_cast<double>(now_ns - request.sent_ns), predicted_ns);
  const double slow = std::log(kSlowRatio);
  slow_.store(ttft_ratio_.value().mean > slow || total_ratio_.value().mean > slow ||
                  tpot_ns > kSlowRatio * line_.at_ns(streams_at_start),
              kRelaxed);
  learnt_ns_.store(now_ns, kRelaxed);
}

void ReplicaTracker::learn_pace(const SentRequest& request, int64_t output_tokens) {
  if (request.first_token_ns == 0) return;
  pace_.learn({.took_ns = request.last_token_ns - request.first_token_ns,
               .tokens = output_tokens - 1,
               .tokens_of_all = output_tokens_.load(kRelaxed) - request.tokens_before - 1,
               .prompt_tokens_of_all = prompt_tokens_.load(kRelaxed) -
                                       request.prompt_tokens_before - request.missing_tokens});
}

std::optional<double> ReplicaTracker::misses_added(const ReplicaView& view, int64_t missing_tokens,
                                                   const contract::TargetPart& tpot,
                                                   int64_t now_ns) const {
  std::array<RunningStream, Forecast::kStreamsMax> streams;
  const size_t seen = running_.look(now_ns, streams);
  const LengthCurve lengths(lengths_);
  if (seen == 0 || !lengths.known()) return std::nullopt;
  return gateway::misses_added(
      {.pace = pace_.pace(),
       .lengths = &lengths,
       .streams = std::span(streams).first(seen),
       .streams_each = std::max(1.0, static_cast<double>(view.streams) / static_cast<double>(seen)),
       .queued_prompt_tokens = static_cast<double>(view.queued_prompt_tokens),
       .prompt_tokens = static_cast<double>(missing_tokens),
       .promise = promise_of(tpot)});
}

double ReplicaTracker::latest_tpot_ns(int64_t now_ns) const {
  std::array<RunningStream, Forecast::kStreamsMax> all;
  const auto running = std::span(all).first(running_.look(now_ns, all));
  const auto shows_nothing = [](const RunningStream& stream) {
    return stream.tokens < kShownTokens;
  };
  const auto shown = std::ranges::partition(running, shows_nothing);
  if (shown.size() < kLatest) return 0.0;
  const auto latest = std::span(shown).first(kLatest);
  std::ranges::nth_element(shown, latest.end(), {}, &RunningStream::since_first_ns);
  const auto middle = latest.begin() + kLatest / 2;
  const auto pace_ns = [](const RunningStream& stream) {
    return stream.since_first_ns / (stream.tokens - 1.0);
  };
  std::ranges::nth_element(latest, middle, {}, pace_ns);
  return pace_ns(*middle);
}

ReplicaTracker::Trial ReplicaTracker::trial(int64_t now_ns) const {
  if (slow_.load(kRelaxed))
    return now_ns - learnt_ns_.load(kRelaxed) > kTrialAfterNs ? Trial::kSlowLongAgo : Trial::kNone;
  return total_ratio_.count() < kTrialCount ? Trial::kHardlyKnown : Trial::kNone;
}

void ReplicaTracker::on_load(const EngineLoad& load, int64_t now_ns) {
  engine_streams_.store(load.running + load.waiting, kRelaxed);
  engine_prompt_tokens_.store(load.queued_prompt_tokens, kRelaxed);
  const auto share = [&](int64_t pages) {
    return load.pages > 0 ? static_cast<float>(pages) / static_cast<float>(load.pages) : 0.0F;
  };
  kv_share_.store(share(load.pages_used), kRelaxed);
  cache_share_.store(share(load.pages_used + load.pages_cached), kRelaxed);
  ready_at_ns_.store(now_ns + load.ready_in_ns, kRelaxed);
  state_.store(load.state, kRelaxed);
  heard_ns_.store(now_ns, kRelaxed);
}

void ReplicaTracker::on_probe(ProbeResult result, int64_t round_trip_ns, int64_t now_ns) {
  if (result == ProbeResult::kUp)
    blend(&round_trip_ns_, static_cast<double>(round_trip_ns), kRoundTripWeight);
  health_.on_probe(result, now_ns);
}

ReplicaView ReplicaTracker::view(int64_t now_ns) const {
  ReplicaView view;
  const int64_t heard_ns = heard_ns_.load(kRelaxed);
  view.news_age_ns = heard_ns == 0 ? kNewsNever : now_ns - heard_ns;
  view.round_trip_ns = static_cast<int64_t>(round_trip_ns_.load(kRelaxed));
  view.prefill_tokens_per_s = std::max(speed_.prefill_tokens_per_s, 1e-3);
  view.queued_prompt_tokens = std::max<int64_t>(queued_prompt_tokens_.load(kRelaxed), 0);
  view.streams = std::max<int64_t>(streams(), 0);
  view.streams_max = std::max<int64_t>(speed_.streams_max, 1);
  view.output_tokens_left = std::max<int64_t>(output_tokens_left_.load(kRelaxed), 0);
  if (view.news_age_ns < kNewsFreshNs) {  // other gateways send to it as well
    view.streams = std::max(view.streams, engine_streams_.load(kRelaxed));
    view.queued_prompt_tokens =
        std::max(view.queued_prompt_tokens, engine_prompt_tokens_.load(kRelaxed));
    view.kv_share = kv_share_.load(kRelaxed);
    view.cache_share = cache_share_.load(kRelaxed);
  }
  const contract::ReplicaState state = this->state();
  if (state == contract::ReplicaState::kStarting || state == contract::ReplicaState::kStaging)
    view.ready_in_ns = std::max<int64_t>(ready_at_ns_.load(kRelaxed) - now_ns, 1);
  const Trial now = view.streams == 0 ? trial(now_ns) : Trial::kNone;
  if (now == Trial::kSlowLongAgo) {
    view.tpot_next_ns = line_.at_ns(1.0);
    view.tpot_full_ns = line_.at_ns(static_cast<double>(view.streams_max));
    return view;
  }
  view.tpot_next_ns = surface_.at_ns(static_cast<double>(view.streams + 1));
  view.tpot_full_ns = surface_.at_ns(static_cast<double>(view.streams_max));
  view.ttft = ttft_ratio_.value();
  view.tpot = tpot_ratio_.value();
  view.total = total_ratio_.value();
  if (now == Trial::kHardlyKnown)
    view.ttft.variance = view.tpot.variance = view.total.variance = 0.0F;
  return view;
}

int64_t ReplicaTracker::stall_after_ns() const {
  const double tpot_ns = surface_.at_ns(static_cast<double>(std::max<int64_t>(streams(), 1))) *
                         std::exp(tpot_ratio_.value().mean);
  return std::max(kStallLeastNs, static_cast<int64_t>(kStallTpots * tpot_ns));
}

}  // namespace sluice::gateway
