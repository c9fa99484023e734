#include "model/expert_cache.h"

#include <algorithm>
#include <cmath>

#include "core/assert.h"

namespace sluice::model {

ExpertCache::ExpertCache(int32_t experts, int32_t slots, std::span<const int32_t> named,
                         int32_t cards)
    : scores_(static_cast<size_t>(experts)),
      stays_(static_cast<size_t>(experts)),
      slot_of_(static_cast<size_t>(experts), -1),
      cards_(cards),
      slots_of_card_(slots / cards) {
  ASSERT(slots >= std::ssize(named) && slots <= experts, "{} slots for {} experts, {} named", slots,
         experts, named.size());
  ASSERT(slots % cards == 0, "{} slots over {} cards", slots, cards);
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

ExpertCache::CardLoad ExpertCache::load_of(int32_t card) const {
  CardLoad load;
  const auto first = expert_in_.begin() + card * slots_of_card_;
  for (auto at = first; at != first + slots_of_card_; ++at) {
    if (*at < 0) {
      load.free_slot = static_cast<int32_t>(at - expert_in_.begin());
      continue;
    }
    load.score += score_of(*at);
    if (stays_[static_cast<size_t>(*at)] == 0 &&
        (load.worst < 0 || score_of(*at) < score_of(load.worst)))
      load.worst = *at;
  }
  return load;
}

ExpertCache::Exchange ExpertCache::begin(int32_t leaves, int32_t comes) {
  int32_t& slot = slot_of_[static_cast<size_t>(leaves)];
  const Exchange exchange{.leaves = leaves, .comes = comes, .slot = slot};
  expert_in_[static_cast<size_t>(slot)] = -1;
  slot = -1;
  return exchange;
}

std::optional<ExpertCache::Exchange> ExpertCache::next_exchange() {
  int32_t comes = -1;
  for (int32_t e = 0; e < static_cast<int32_t>(scores_.size()); ++e)
    if (slot_of_[static_cast<size_t>(e)] < 0 && (comes < 0 || score_of(e) > score_of(comes)))
      comes = e;
  if (comes < 0 || expert_in_.empty()) return std::nullopt;
  std::vector<CardLoad> loads;
  for (int32_t card = 0; card < cards_; ++card) loads.push_back(load_of(card));
  const CardLoad* to = nullptr;
  for (const CardLoad& load : loads) {
    if (load.free_slot >= 0) return Exchange{.leaves = -1, .comes = comes, .slot = load.free_slot};
    if (load.worst < 0 || score_of(comes) < score_of(load.worst) * kGainMin + weight_) continue;
    if (to == nullptr || load.score < to->score) to = &load;
  }
  if (to != nullptr) return begin(to->worst, comes);
  return next_move(loads);
}

// From the busiest card to the one with the least to do, where it takes the place of its worst,
// which comes back to the place that is left.
std::optional<ExpertCache::Exchange> ExpertCache::next_move(std::span<const CardLoad> loads) {
  const auto [least, most] =
      std::minmax_element(loads.begin(), loads.end(),
                          [](const CardLoad& a, const CardLoad& b) { return a.score < b.score; });
  const double gap = most->score - least->score;
  if (least->worst < 0 || gap < kGapMin * most->score) return std::nullopt;
  int32_t moves = -1;
  double gap_then = gap / 2;  // less, or it is not worth it
  const auto first = expert_in_.begin() + (most - loads.begin()) * slots_of_card_;
  for (auto at = first; at != first + slots_of_card_; ++at) {
    if (stays_[static_cast<size_t>(*at)] != 0) continue;
    const double gap_of = std::abs(gap - 2 * (score_of(*at) - score_of(least->worst)));
    if (gap_of >= gap_then) continue;
    moves = *at;
    gap_then = gap_of;
  }
  if (moves < 0) return std::nullopt;
  return begin(least->worst, moves);
}

void ExpertCache::arrive(const Exchange& exchange) {
  ASSERT(expert_in_[static_cast<size_t>(exchange.slot)] == -1, "slot {} is taken", exchange.slot);
  int32_t& slot = slot_of_[static_cast<size_t>(exchange.comes)];
  if (slot >= 0) expert_in_[static_cast<size_t>(slot)] = -1;
  slot = exchange.slot;
  expert_in_[static_cast<size_t>(slot)] = exchange.comes;
  ++counts_.exchanges;
}

}  // namespace sluice::model
