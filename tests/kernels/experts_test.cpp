// Routing and the sum of the experts, of every table.
#include <gmock/gmock.h>

#include "tests/kernels/support.h"

namespace sluice::kernels {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::Pointwise;

struct Routed {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};
Routed route(const Ops& ops, const RouterRule& rule, const std::vector<float>& logits,
             const std::vector<float>& bias, int32_t used) {
  Routed r{std::vector<int32_t>(static_cast<size_t>(used)),
           std::vector<float>(static_cast<size_t>(used))};
  ops.route({.rule = rule,
             .logits = logits.data(),
             .bias = bias.empty() ? nullptr : bias.data(),
             .rows = 1,
             .experts = static_cast<int32_t>(logits.size()),
             .used = used,
             .ids = r.ids.data(),
             .weights = r.weights.data()},
            0, 1);
  return r;
}

float sigmoid(float x) {
  return 1 / (1 + std::exp(-x));
}

TEST(Route, ASoftmaxIsOverAllExperts) {
  for (const Ops* ops : runnable_ops()) {
    const std::vector<float> logits = {0, std::log(3.0f), std::log(4.0f), std::log(2.0f)};
    Routed r = route(*ops, {}, logits, {}, 2);
    EXPECT_THAT(r.ids, ElementsAre(2, 1));
    EXPECT_THAT(r.weights, Pointwise(FloatNear(1e-6f), {0.4f, 0.3f}));
    r = route(*ops, {.normalized = true, .scale = 14}, logits, {}, 2);
    EXPECT_THAT(r.weights, Pointwise(FloatNear(1e-5f), {8.0f, 6.0f}));
  }
}

TEST(Route, TheBiasChoosesButDoesNotWeigh) {
  for (const Ops* ops : runnable_ops()) {
    const Routed r = route(*ops, {.scores = RouterScores::kSigmoid}, {2, 1, 0}, {0, 0, 5}, 2);
    EXPECT_THAT(r.ids, ElementsAre(2, 0));
    EXPECT_THAT(r.weights, Pointwise(FloatNear(1e-6f), {sigmoid(0), sigmoid(2)}));
  }
}

TEST(Route, GroupsCompeteByTheirBestScores) {
  RouterRule rule{.scores = RouterScores::kSigmoid, .groups = 3, .groups_used = 1, .group_best = 2};
  const std::vector<float> logits = {3, -9, 1, 1.5f, 0.9f, 0.8f};
  for (const Ops* ops : runnable_ops()) {
    EXPECT_THAT(route(*ops, rule, logits, {}, 2).ids, ElementsAre(3, 2));
    rule.group_best = 1;
    EXPECT_THAT(route(*ops, rule, logits, {}, 2).ids, ElementsAre(0, 1));
    rule.group_best = 2;
    rule.groups_used = 2;
    EXPECT_THAT(route(*ops, rule, logits, {}, 3).ids, ElementsAre(3, 2, 4));
    rule.groups_used = 1;
  }
}

TEST(Route, OfEqualsTheSmallerIdAndNeverOneTwice) {
  for (const Ops* ops : runnable_ops()) {
    EXPECT_THAT(route(*ops, {}, {1, 1, 1, 1}, {}, 3).ids, ElementsAre(0, 1, 2));
    const float none = std::nanf("");
    EXPECT_THAT(route(*ops, {}, {none, none, none}, {}, 3).ids, ElementsAre(0, 1, 2));
    const RouterRule groups{.groups = 2, .groups_used = 1, .group_best = 2};
    EXPECT_THAT(route(*ops, groups, {1, 1, 1, 1}, {}, 2).ids, ElementsAre(0, 1));
  }
}

TEST(WeightedSum, AddsRowsByPlace) {
  const std::vector<float> x = {1, 2, 3, 4, 5, 6};
  const std::vector<int32_t> places = {2, 0, 1, 1};
  const std::vector<float> weights = {1, 10, 2, 0.5f};
  for (const Ops* ops : runnable_ops()) {
    std::vector<float> out = {100, 200, 300, 400};
    run_all(ops->weighted_sum,
            WeightedSumArgs{.x = x.data(),
                            .places = places.data(),
                            .weights = weights.data(),
                            .rows = 2,
                            .used = 2,
                            .columns = 2,
                            .out = out.data()},
            2);
    EXPECT_THAT(out, ElementsAre(115, 226, 307.5f, 410));
  }
}

}  // namespace
}  // namespace sluice::kernels
