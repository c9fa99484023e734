#include "gateway/routing/valve_state.h"

#include <algorithm>
#include <cmath>

namespace sluice::gateway {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// How far one miss moves the logarithm of what is allowed: to 37 % at 1.
constexpr double kStep = 1.0;
constexpr double kAllowedMin = 0.01;
// 1 − q, whatever was allowed; from there on local is hopeless, and going elsewhere says nothing.
constexpr double kMissShareMax = 0.99;
// Of what the goal allows, so much is missed here: the rest is for those that went elsewhere, which
// what is allowed here cannot help.
constexpr double kOwnPart = 0.4;
// 1 − q, as far as answers take it that were far from missing: after a quiet night a burst must not
// meet a valve that takes anything.
constexpr double kEasyMissShare = 0.08;
constexpr double kFirstRise = 8.0;  // so much faster before the first miss; then ÷ 2, ÷ 3 …

}  // namespace

void ValveState::on_outcome(const LocalChance& chance, Met met) {
  const auto statistic = static_cast<size_t>(chance.statistic);
  const double share = miss_share_allowed(chance.statistic, 0.0F);
  const bool hopeless = chance.miss * share >= kMissShareMax;
  if (chance.went == LocalChance::Went::kElsewhere && (hopeless || met == Met::kNo)) return;
  std::atomic<int64_t>& missed = missed_[statistic];
  const int64_t misses = missed.load(kRelaxed) + (met == Met::kNo ? 1 : 0);
  if (met == Met::kNo) missed.store(misses, kRelaxed);
  const double rise = kStep * std::max(1.0, kFirstRise / (1.0 + static_cast<double>(misses)));
  std::atomic<double>& allowed = log_allowed_[statistic];
  double before = allowed.load(kRelaxed);
  double after;
  do {
    const bool counts_in_full = std::exp(before) < std::max(1.0, kEasyMissShare / share);
    const double marginal = counts_in_full ? 1.0 : std::min(1.0, chance.miss / std::exp(before));
    const double step =
        met == Met::kYes ? rise * kOwnPart * share * marginal : -kStep * (1.0 - share);
    const double most = std::max(1.0, kMissShareMax / share);
    after = std::clamp(before + step, std::log(kAllowedMin), std::log(most));
  } while (!allowed.compare_exchange_weak(before, after, kRelaxed));
}

void ValveState::on_saturation(double saturation, int64_t now_ns) {
  saturation_.store(saturation, kRelaxed);
  if (saturation >= kOpenAt) {
    open_.store(true, kRelaxed);
    below_since_ns_.store(0, kRelaxed);
  } else if (saturation > kCloseAt) {
    below_since_ns_.store(0, kRelaxed);
  } else if (open_.load(kRelaxed)) {
    int64_t since_ns = 0;
    if (below_since_ns_.compare_exchange_strong(since_ns, now_ns, kRelaxed)) return;
    if (now_ns - since_ns >= kCloseHeldNs) open_.store(false, kRelaxed);
  }
}

ValveView ValveState::view() const {
  ValveView view;
  for (size_t i = 0; i < log_allowed_.size(); ++i)
    view.miss_allowed[i] = std::exp(log_allowed_[i].load(kRelaxed));
  view.open = open_.load(kRelaxed);
  view.saturation = saturation_.load(kRelaxed);
  return view;
}

double local_saturation(std::span<const Candidate> candidates) {
  double weighted = 0.0;
  double weights = 0.0;
  for (const Candidate& candidate : candidates) {
    if (candidate.pool->place != contract::Place::kLocal || candidate.out) continue;
    const ReplicaView& view = candidate.view;
    const double weight = static_cast<double>(view.streams_max) / std::max(view.tpot_full_ns, 1.0);
    weighted += weight * std::min(saturation(view), ValveState::kOpenAt);
    weights += weight;
  }
  return weights > 0.0 ? weighted / weights : 0.0;
}

}  // namespace sluice::gateway
