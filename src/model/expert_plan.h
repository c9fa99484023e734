// Which rows of a step each expert gets: tokens are sorted by expert, so that an expert's weights
// are read once a step however many tokens chose it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace sluice::model {

// A choice is one (row, i-th expert of the row); choices of one expert get consecutive places.
struct ExpertGroup {
  int32_t expert = 0;
  int32_t first = 0;  // place
  int32_t count = 0;  // of choices, at least 1
};

class ExpertPlan {
 public:
  ExpertPlan() = default;
  ExpertPlan(int32_t experts, int64_t choices_max);

  // ids: (rows, used), each below `experts`; choices of -1 are left out, their place is -1. Groups
  // come by rising expert, places in the order of choices. Allocates nothing.
  void build(std::span<const int32_t> ids);

  std::span<const ExpertGroup> groups() const { return {groups_.data(), group_count_}; }
  const int32_t* places() const { return places_.data(); }    // by choice
  const int32_t* choices() const { return choices_.data(); }  // by place

 private:
  std::vector<int32_t> next_;  // by expert: its next place
  std::vector<ExpertGroup> groups_;
  size_t group_count_ = 0;
  std::vector<int32_t> places_;
  std::vector<int32_t> choices_;
};

// The experts that rows will choose, as the router of a layer says of rows that are not done with
// the layer before.
struct ExpertGuess {
  std::span<const int32_t> ids = {};  // (rows, used), each row's best first; -1: none
  int32_t used = 0;
  std::span<const int32_t> slots = {};  // by expert: -1: no device has it; or empty: none has any
  uint32_t pull_share = 0;              // as in kernels::DevicePickArgs
};

// Those of a guess that the host will have, the best of every row before the second best.
struct GuessedExperts {
  static constexpr size_t kMax = 4;
  std::array<int32_t, kMax> ids{};
  size_t count = 0;
};
GuessedExperts guessed_of_host(const ExpertGuess& guess);

// Of a row's choices, -1 where somebody else has them: the `count` of the least weight leave `ids`
// for `later`, which is -1 everywhere before.
void defer_lightest(std::span<const float> weights, int32_t count, std::span<int32_t> ids,
                    std::span<int32_t> later);

}  // namespace sluice::model
