#include "model/expert_plan.h"

#include <gmock/gmock.h>

#include "core/rng.h"
#include "kernels/device_pull.h"

namespace sluice::model {
namespace {

TEST(ExpertPlan, ChoicesOfAnExpertStandTogetherInTheirOrder) {
  ExpertPlan plan(5, 6);
  const int32_t ids[] = {3, 1, 3, 0, 1, 3};
  plan.build(ids);
  ASSERT_EQ(plan.groups().size(), 3u);
  const ExpertGroup expected[] = {{0, 0, 1}, {1, 1, 2}, {3, 3, 3}};
  for (size_t g = 0; g < 3; ++g) {
    EXPECT_EQ(plan.groups()[g].expert, expected[g].expert);
    EXPECT_EQ(plan.groups()[g].first, expected[g].first);
    EXPECT_EQ(plan.groups()[g].count, expected[g].count);
  }
  EXPECT_THAT(std::vector(plan.choices(), plan.choices() + 6),
              ::testing::ElementsAre(3, 1, 4, 0, 2, 5));
}

TEST(ExpertPlan, EveryChoiceHasOnePlaceInItsExpertsGroup) {
  const uint64_t seed = 5;
  core::Rng rng(seed);
  constexpr int32_t kExperts = 7;
  ExpertPlan plan(kExperts, 40);
  for (int round = 0; round < 200; ++round) {
    std::vector<int32_t> ids(static_cast<size_t>(rng.below(41)));
    for (int32_t& id : ids) id = static_cast<int32_t>(rng.below(kExperts));
    plan.build(ids);
    int32_t covered = 0;
    for (const ExpertGroup& g : plan.groups()) {
      EXPECT_EQ(g.first, covered) << "seed " << seed;
      for (int32_t place = g.first; place < g.first + g.count; ++place) {
        const int32_t choice = plan.choices()[place];
        EXPECT_EQ(ids[static_cast<size_t>(choice)], g.expert) << "seed " << seed;
        EXPECT_EQ(plan.places()[choice], place) << "seed " << seed;
      }
      covered += g.count;
    }
    EXPECT_EQ(covered, static_cast<int32_t>(ids.size())) << "seed " << seed;
  }
}

// Those that somebody else has do not count, however light they are.
std::vector<int32_t> guessed(const ExpertGuess& guess) {
  const GuessedExperts experts = guessed_of_host(guess);
  return {experts.ids.begin(), experts.ids.begin() + static_cast<int64_t>(experts.count)};
}

TEST(GuessedExperts, AreTheBestOfEveryRowThatTheHostHas) {
  const std::vector<int32_t> ids = {7, 2, 5, /**/ 2, 9, 7, /**/ -1, -1, -1};
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(guessed({.ids = ids, .used = 3}), (Ids{7, 2, 9, 5}));
  // Two of the four are the links': those of the highest numbers.
  EXPECT_EQ(guessed({.ids = ids, .used = 3, .pull_share = kernels::kPullShareOne / 2}),
            (Ids{2, 5}));
  EXPECT_EQ(guessed({.ids = ids, .used = 3, .pull_share = kernels::kPullShareOne}), Ids{});
  std::vector<int32_t> slots(10, -1);
  slots[9] = 0;
  EXPECT_EQ(guessed({.ids = ids, .used = 3, .slots = slots}), (Ids{7, 2, 5}));
  EXPECT_EQ(
      guessed({.ids = ids, .used = 3, .slots = slots, .pull_share = kernels::kPullShareOne / 2}),
      (Ids{2, 5}));
  EXPECT_EQ(guessed({}), Ids{});
  // More than there is room for.
  const std::vector<int32_t> many = {1, 2, 3, 4, 5, 6};
  EXPECT_EQ(guessed({.ids = many, .used = 6}), (Ids{1, 2, 3, 4}));
  EXPECT_EQ(guessed({.ids = many, .used = 3}), (Ids{1, 4, 2, 5}));
  // An id that no set has room for is nobody's.
  const std::vector<int32_t> high = {kernels::kPickedExpertsMax, 3};
  EXPECT_EQ(guessed({.ids = high, .used = 2}), Ids{3});
}

TEST(DeferLightest, TakesTheLightestOfWhatIsThere) {
  const auto deferred = [](std::vector<int32_t> ids, int32_t count) {
    const float weights[] = {0.1f, 0.5f, 0.2f, 0.2f};
    std::vector<int32_t> later(ids.size(), -1);
    defer_lightest(weights, count, ids, later);
    return std::pair(ids, later);
  };
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(deferred({4, 5, 6, 7}, 0), std::pair(Ids({4, 5, 6, 7}), Ids({-1, -1, -1, -1})));
  EXPECT_EQ(deferred({4, 5, 6, 7}, 2), std::pair(Ids({-1, 5, 6, -1}), Ids({4, -1, -1, 7})));
  EXPECT_EQ(deferred({-1, 5, 6, 7}, 2), std::pair(Ids({-1, 5, -1, -1}), Ids({-1, -1, 6, 7})));
  EXPECT_EQ(deferred({-1, 5, -1, -1}, 2), std::pair(Ids({-1, -1, -1, -1}), Ids({-1, 5, -1, -1})));
}

}  // namespace
}  // namespace sluice::model
