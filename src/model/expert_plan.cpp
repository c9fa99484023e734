#include "model/expert_plan.h"

#include <algorithm>
#include <bitset>

#include "core/assert.h"
#include "kernels/device_pull.h"

namespace sluice::model {

ExpertPlan::ExpertPlan(int32_t experts, int64_t choices_max)
    : next_(static_cast<size_t>(experts)),
      groups_(static_cast<size_t>(experts)),
      places_(static_cast<size_t>(choices_max)),
      choices_(static_cast<size_t>(choices_max)) {}

void ExpertPlan::build(std::span<const int32_t> ids) {
  ASSERT(ids.size() <= places_.size(), "{} choices, at most {}", ids.size(), places_.size());
  std::fill(next_.begin(), next_.end(), 0);
  for (const int32_t id : ids) {
    if (id == -1) continue;
    ASSERT(id >= 0 && static_cast<size_t>(id) < next_.size(), "expert {} of {}", id, next_.size());
    ++next_[static_cast<size_t>(id)];
  }
  group_count_ = 0;
  int32_t first = 0;
  for (size_t e = 0; e < next_.size(); ++e) {
    const int32_t count = next_[e];
    next_[e] = first;
    if (count > 0) groups_[group_count_++] = {static_cast<int32_t>(e), first, count};
    first += count;
  }
  for (size_t choice = 0; choice < ids.size(); ++choice) {
    if (ids[choice] == -1) {
      places_[choice] = -1;
      continue;
    }
    const int32_t place = next_[static_cast<size_t>(ids[choice])]++;
    places_[choice] = place;
    choices_[static_cast<size_t>(place)] = static_cast<int32_t>(choice);
  }
}

GuessedExperts guessed_of_host(const ExpertGuess& guess) {
  if (guess.ids.empty()) return {};
  std::bitset<kernels::kPickedExpertsMax> host;
  for (const int32_t id : guess.ids)
    if (id >= 0 && static_cast<size_t>(id) < host.size() &&
        (guess.slots.empty() || guess.slots[static_cast<size_t>(id)] < 0))
      host.set(static_cast<size_t>(id));
  // Those of the highest numbers come over the links, as pick() has it.
  int32_t pulled = kernels::pulled_experts(static_cast<int32_t>(host.count()), guess.pull_share);
  for (size_t id = host.size(); pulled > 0; --pulled) {
    do --id;
    while (!host[id]);
    host.reset(id);
  }
  GuessedExperts guessed;
  const size_t used = static_cast<size_t>(guess.used), rows = guess.ids.size() / used;
  for (size_t rank = 0; rank < used; ++rank)
    for (size_t row = 0; row < rows; ++row) {
      const int32_t id = guess.ids[row * used + rank];
      if (id < 0 || static_cast<size_t>(id) >= host.size() || !host[static_cast<size_t>(id)])
        continue;
      host.reset(static_cast<size_t>(id));
      guessed.ids[guessed.count++] = id;
      if (guessed.count == guessed.kMax) return guessed;
    }
  return guessed;
}

void defer_lightest(std::span<const float> weights, int32_t count, std::span<int32_t> ids,
                    std::span<int32_t> later) {
  for (int32_t i = 0; i < count; ++i) {
    size_t lightest = ids.size();  // of equal ones the last
    for (size_t choice = 0; choice < ids.size(); ++choice)
      if (ids[choice] >= 0 && (lightest == ids.size() || weights[choice] <= weights[lightest]))
        lightest = choice;
    if (lightest == ids.size()) return;
    std::swap(ids[lightest], later[lightest]);
  }
}

}  // namespace sluice::model
