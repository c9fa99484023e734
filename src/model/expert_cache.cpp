#include "model/expert_cache.h"

#include <algorithm>
#include <cmath>

#include "core/assert.h"

namespace sluice::model {

ExpertCache::ExpertCache(int32_t experts, int32_t slots, std::span<const int32_t> named)
    : scores_(static_cast<size_t>(experts)),
      stays_(static_cast<size_t>(experts)),
      slot_of_(static_cast<size_t>(experts), -1) {
  ASSERT(slots >= std::ssize(named) && slots <= experts, "{} slots for {} experts, {} named", slots,
         experts, named.size());
  expert_in_.reserve(static_cast<size_t>(slots));
  const auto put = [&](int32_t expert) {
    slot_of_[static_cast<size_t>(expert)] = static_cast<int32_t>(expert_in_.size());
    expert_in_.push_back(expert);
  };
  for (const int32_t expert : named) {
    put(expert);
    stays_[static_cast<size_t>(expert)] = 1;
  }
  for (int32_t expert = 0; std::ssize(expert_in_) < slots; ++expert)
    if (stays_[static_cast<size_t>(expert)] == 0) put(expert);
}

void ExpertCache::see(std::span<const int32_t> ids) {
  constexpr double kWeightMax = 1e100;
  weight_ *= std::exp2(1 / kHalfLifeSteps);
  if (weight_ > kWeightMax) {
    for (double& score : scores_) score /= weight_;
    weight_ = 1;
  }
  for (const int32_t id : ids) scores_[static_cast<size_t>(id)] += weight_;
}

void ExpertCache::count(std::span<const int32_t> ids) {
  counts_.choices += std::ssize(ids);
  counts_.hits += std::count_if(ids.begin(), ids.end(),
                                [&](int32_t id) { return slot_of_[static_cast<size_t>(id)] >= 0; });
}

std::optional<ExpertCache::Exchange> ExpertCache::next_exchange() {
  int32_t worst_in = -1, best_out = -1;
  const auto score_of = [&](int32_t id) { return scores_[static_cast<size_t>(id)]; };
  for (int32_t e = 0; e < static_cast<int32_t>(scores_.size()); ++e) {
    if (slot_of_[static_cast<size_t>(e)] < 0) {
      if (best_out < 0 || score_of(e) > score_of(best_out)) best_out = e;
    } else if (stays_[static_cast<size_t>(e)] == 0) {
      if (worst_in < 0 || score_of(e) < score_of(worst_in)) worst_in = e;
    }
  }
  if (worst_in < 0 || best_out < 0) return std::nullopt;
  if (score_of(best_out) < score_of(worst_in) * kGainMin + weight_) return std::nullopt;
  int32_t& slot = slot_of_[static_cast<size_t>(worst_in)];
  const Exchange exchange{.leaves = worst_in, .comes = best_out, .slot = slot};
  expert_in_[static_cast<size_t>(slot)] = -1;
  slot = -1;
  return exchange;
}

void ExpertCache::arrive(const Exchange& exchange) {
  ASSERT(expert_in_[static_cast<size_t>(exchange.slot)] == -1, "slot {} is taken", exchange.slot);
  expert_in_[static_cast<size_t>(exchange.slot)] = exchange.comes;
  slot_of_[static_cast<size_t>(exchange.comes)] = exchange.slot;
  ++counts_.exchanges;
}

}  // namespace sluice::model
