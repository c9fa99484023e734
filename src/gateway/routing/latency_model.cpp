#include "gateway/routing/latency_model.h"

#include <algorithm>
#include <cmath>

namespace sluice::gateway {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr double kFadeRatio = 0.0228;  // of an observation: a half-life of 30
constexpr double kFadeSurface = 0.1;
constexpr double kMeanCount = 1.0;    // observations that what was believed before counts as
constexpr double kSpreadCount = 4.0;  // the same of the spread
constexpr double kSpreadLeast = 0.01;
constexpr double kLogRatioMax = 4.0;

double knot_streams(int knot) {
  return static_cast<double>(int64_t{1} << knot);
}

double own_saturation(const ReplicaView& view) {
  const double places = static_cast<double>(view.streams) / static_cast<double>(view.streams_max);
  return std::max(places, view.kv_share / 0.8);
}

}  // namespace

// ---- LogRatio -----------------------------------------------------------------------------------

LogRatio::LogRatio(float spread_before)
    : spread_before_(spread_before), value_(Value{0.0F, spread_before * spread_before}) {}

void LogRatio::add(double actual, double predicted) {
  if (!(actual > 0.0) || !(predicted > 0.0)) return;
  const double seen = std::clamp(std::log(actual / predicted), -kLogRatioMax, kLogRatioMax);
  const auto count = static_cast<double>(count_.fetch_add(1, kRelaxed));
  const double mean_weight = std::max(kFadeRatio, 1.0 / (count + 1.0 + kMeanCount));
  const double spread_weight = std::max(kFadeRatio, 1.0 / (count + 1.0 + kSpreadCount));
  Value before = value_.load(kRelaxed);
  Value after;
  do {
    const double mean = before.mean + mean_weight * (seen - before.mean);
    const double square = (seen - before.mean) * (seen - mean);
    const double variance = before.variance + spread_weight * (square - before.variance);
    after = {static_cast<float>(mean),
             static_cast<float>(std::max(variance, kSpreadLeast * kSpreadLeast))};
  } while (!value_.compare_exchange_weak(before, after, kRelaxed));
}

void LogRatio::forget() {
  count_.store(0, kRelaxed);
  value_.store({0.0F, spread_before_ * spread_before_}, kRelaxed);
}

LogRatio::Value LogRatio::value() const {
  return value_.load(kRelaxed);
}

// ---- TpotSurface --------------------------------------------------------------------------------

TpotSurface::TpotSurface(const contract::Speed& speed)
    : alone_ns_(1e9 / std::max(speed.decode_tokens_per_s, 1e-3)) {
  const double places = static_cast<double>(std::max<int64_t>(speed.streams_max, 1));
  const double full_ns = 1e9 * places / std::max(speed.decode_tokens_per_s_max, 1e-3);
  per_stream_ns_ = places > 1.0 ? std::max(0.0, (full_ns - alone_ns_) / (places - 1.0)) : 0.0;
  draw();
}

double TpotSurface::line_ns(double streams) const {
  return alone_ns_ + (std::max(streams, 1.0) - 1.0) * per_stream_ns_;
}

// A knot that nobody has seen is as wrong as the nearest one that somebody has. Threads that draw
// at the same time leave knots of either's drawing; the next answer draws anew.
void TpotSurface::draw() {
  constexpr int kFar = 2 * kKnots;
  std::array<float, kKnots> seen;
  std::array<int, kKnots> nearest;
  for (int knot = 0, below = -kFar; knot < kKnots; ++knot) {
    const auto at = static_cast<size_t>(knot);
    seen[at] = ratios_[at].load(kRelaxed);
    if (seen[at] > 0.0F) below = knot;
    nearest[at] = below;
  }
  for (int knot = kKnots - 1, above = kKnots + kFar; knot >= 0; --knot) {
    const auto at = static_cast<size_t>(knot);
    if (seen[at] > 0.0F) above = knot;
    if (above - knot < knot - nearest[at]) nearest[at] = above;
  }
  double highest_ns = 0.0;
  for (int knot = 0; knot < kKnots; ++knot) {
    const int from = nearest[static_cast<size_t>(knot)];
    const double ratio = from >= 0 && from < kKnots ? seen[static_cast<size_t>(from)] : 1.0;
    highest_ns = std::max(highest_ns, ratio * line_ns(knot_streams(knot)));
    curve_ns_[static_cast<size_t>(knot)].store(highest_ns, kRelaxed);
  }
}

void TpotSurface::add(double streams, double actual_ns) {
  if (!(actual_ns > 0.0)) return;
  const double at = std::clamp(std::log2(std::max(streams, 1.0)), 0.0, kKnots - 1.0);
  const int below = std::min(static_cast<int>(at), kKnots - 2);
  const double ratio = actual_ns / line_ns(streams);
  for (int step = 0; step < 2; ++step) {
    const double share = step == 0 ? below + 1.0 - at : at - below;
    if (share < 0.05) continue;
    auto& knot = ratios_[static_cast<size_t>(below + step)];
    const double before = knot.load(kRelaxed);
    const double after = before > 0.0 ? before + kFadeSurface * share * (ratio - before) : ratio;
    knot.store(static_cast<float>(after), kRelaxed);
  }
  draw();
}

void TpotSurface::forget() {
  for (auto& ratio : ratios_) ratio.store(0.0F, kRelaxed);
  draw();
}

double TpotSurface::at_ns(double streams) const {
  streams = std::max(streams, 1.0);
  const int below = std::min(static_cast<int>(std::log2(streams)), kKnots - 2);
  const auto at = static_cast<size_t>(below);
  const double low_ns = curve_ns_[at].load(kRelaxed);
  const double high_ns = std::max(low_ns, curve_ns_[at + 1].load(kRelaxed));
  const double share =
      (streams - knot_streams(below)) / (knot_streams(below + 1) - knot_streams(below));
  return low_ns + share * (high_ns - low_ns);
}

// ---- predictions --------------------------------------------------------------------------------

int64_t place_wait_ns(const ReplicaView& view) {
  int64_t behind = view.streams - view.streams_max + 1;
  if (view.streams > 0 && own_saturation(view) >= 1.0) behind = std::max<int64_t>(behind, 1);
  if (behind <= 0) return std::max(view.ready_in_ns, view.pool_wait_ns);
  // What streams have left is anything between nothing and twice its mean, so that the ends of n of
  // them are n + 1 equal times apart.
  const double left = static_cast<double>(std::max<int64_t>(view.output_tokens_left, 1)) /
                      static_cast<double>(view.streams);
  const double place_ns = 2.0 * left * view.tpot_full_ns / static_cast<double>(view.streams + 1);
  return std::max(view.ready_in_ns + static_cast<int64_t>(static_cast<double>(behind) * place_ns),
                  view.pool_wait_ns);
}

Latency predict_raw(const ReplicaView& view, const TokenEstimate& tokens, int64_t cached_tokens) {
  const int64_t missing = std::max<int64_t>(tokens.prompt_tokens - cached_tokens, 1);
  Latency latency;
  latency.ttft_ns =
      static_cast<double>(view.round_trip_ns + place_wait_ns(view)) +
      1e9 * static_cast<double>(view.queued_prompt_tokens + missing) / view.prefill_tokens_per_s;
  latency.tpot_ns = view.tpot_next_ns;
  latency.total_ns =
      latency.ttft_ns +
      static_cast<double>(std::max<int64_t>(tokens.output_tokens - 1, 0)) * latency.tpot_ns;
  return latency;
}

Latency predict(const ReplicaView& view, const TokenEstimate& tokens, int64_t cached_tokens) {
  Latency latency = predict_raw(view, tokens, cached_tokens);
  const double decode_ns = latency.total_ns - latency.ttft_ns;
  const double tpot_ratio = std::exp(view.tpot.mean);
  latency.ttft_ns *= std::exp(view.ttft.mean);
  latency.tpot_ns *= tpot_ratio;
  latency.total_ns = (latency.ttft_ns + decode_ns * tpot_ratio) * std::exp(view.total.mean);
  return latency;
}

double saturation(const ReplicaView& view) {
  return std::max(own_saturation(view), view.pool_share);
}

double normal_share(double z) {
  return 0.5 * std::erfc(-z * M_SQRT1_2);
}

double chance_within(double predicted_ns, float variance, int64_t limit_ns) {
  if (predicted_ns <= 0.0) return 1.0;
  const double spread = std::max(std::sqrt(static_cast<double>(variance)), kSpreadLeast);
  return normal_share(std::log(static_cast<double>(limit_ns) / predicted_ns) / spread);
}

double miss_share_allowed(contract::Statistic statistic, float variance) {
  switch (statistic) {
    case contract::Statistic::kP99:
      return 0.01;
    case contract::Statistic::kP50:
      return 0.5;
    case contract::Statistic::kMean:
      return 1.0 - normal_share(0.5 * std::sqrt(static_cast<double>(variance)));
  }
  return 0.01;
}

double expected_miss(const contract::Target& target, const Latency& predicted,
                     const ReplicaView& view) {
  struct Part {
    const contract::TargetPart& target;
    double predicted_ns;
    float variance;
  };
  const Part parts[] = {{target.ttft, predicted.ttft_ns, view.ttft.variance},
                        {target.tpot, predicted.tpot_ns, view.tpot.variance},
                        {target.total, predicted.total_ns, view.total.variance}};
  double miss = view.misses_added.value_or(0.0);
  for (const Part& part : parts) {
    if (part.target.limit_ns <= 0) continue;
    if (&part.target == &target.tpot && view.misses_added) continue;
    miss += (1.0 - chance_within(part.predicted_ns, part.variance, part.target.limit_ns)) /
            miss_share_allowed(part.target.statistic, part.variance);
  }
  return miss;
}

bool has_target(const contract::Target& target) {
  return target.ttft.limit_ns > 0 || target.tpot.limit_ns > 0 || target.total.limit_ns > 0;
}

contract::Statistic strictest_statistic(const contract::Target& target) {
  contract::Statistic strictest = contract::Statistic::kMean;
  for (const auto* part : {&target.ttft, &target.tpot, &target.total}) {
    if (part->limit_ns <= 0) continue;
    if (part->statistic == contract::Statistic::kP99) return contract::Statistic::kP99;
    if (part->statistic == contract::Statistic::kP50) strictest = contract::Statistic::kP50;
  }
  return strictest;
}

bool target_met(const contract::Target& target, const Latency& actual) {
  const auto within = [](const contract::TargetPart& part, double actual_ns) {
    return part.limit_ns <= 0 || actual_ns <= static_cast<double>(part.limit_ns);
  };
  return within(target.ttft, actual.ttft_ns) && within(target.tpot, actual.tpot_ns) &&
         within(target.total, actual.total_ns);
}

}  // namespace sluice::gateway
