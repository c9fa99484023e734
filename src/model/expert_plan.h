// Which rows of a step each expert gets: tokens are sorted by expert, so that an expert's weights
// are read once a step however many tokens chose it.
#pragma once

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

// Of a row's choices, -1 where somebody else has them: the `count` of the least weight leave `ids`
// for `later`, which is -1 everywhere before.
void defer_lightest(std::span<const float> weights, int32_t count, std::span<int32_t> ids,
                    std::span<int32_t> later);

}  // namespace sluice::model
