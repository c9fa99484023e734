#include "schedule/cost_model.h"

#include <gtest/gtest.h>

#include "core/rng.h"

namespace sluice::schedule {
namespace {

TEST(CostFit, FindsTheCoefficientsOfNoisySteps) {
  const uint64_t seed = 7;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  core::Rng random(seed);
  const StepCost truth = StepCost::straight(2e6, 3e5, 40);
  CostFit fit;
  for (int i = 0; i < 400; ++i) {
    const StepSize size{1 + random.below(512), random.below(400'000)};
    fit.add(size, static_cast<int64_t>(truth.of(size) * (0.95 + 0.1 * random.unit())));
  }
  const StepSize probe{100, 50'000};
  EXPECT_NEAR(fit.cost().of(probe) / truth.of(probe), 1.0, 0.03);
  EXPECT_NEAR(fit.cost().token_ns[4] / truth.token_ns[4], 1.0, 0.05);
  EXPECT_NEAR(fit.cost().context_ns / truth.context_ns, 1.0, 0.1);
}

// A surface as measured on a machine with tiles: steps of a few rows cost what reading the weights
// does, a straight line through it is far off at both ends.
TEST(CostFit, FindsTheBendsOfTheSurface) {
  const uint64_t seed = 11;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  core::Rng random(seed);
  StepCost truth{.fixed_ns = 2.3e6, .context_ns = 2};
  truth.token_ns = {1e4, 5e5, 2.5e5, 2e5, 1.7e5, 1.5e5};
  CostFit fit;
  for (int i = 0; i < 600; ++i) {
    const StepSize size{random.below(2) == 0 ? 1 + random.below(20) : 1 + random.below(512),
                        random.below(100'000)};
    fit.add(size, static_cast<int64_t>(truth.of(size) * (0.97 + 0.06 * random.unit())));
  }
  for (const int64_t tokens : {1, 4, 10, 16, 64, 128, 300, 512}) {
    const StepSize probe{tokens, 20'000};
    EXPECT_NEAR(fit.cost().of(probe) / truth.of(probe), 1.0, 0.05) << tokens;
  }
}

TEST(CostFit, UnseenPiecesGoOnAsTheirNeighbours) {
  CostFit fit;
  for (int i = 0; i < 300; ++i) fit.add({1 + i % 100, 0}, 1'000'000 + 50'000 * (1 + i % 100));
  EXPECT_NEAR(fit.cost().of({512, 0}) / (1'000'000 + 50'000 * 512), 1.0, 0.05);
}

TEST(CostFit, FollowsAMachineThatGotSlower) {
  CostFit fit;
  for (int i = 0; i < 1000; ++i) fit.add({1 + i % 64, 1000}, 1000 * (1 + i % 64));
  for (int i = 0; i < 1500; ++i) fit.add({1 + i % 64, 1000}, 3000 * (1 + i % 64));
  EXPECT_NEAR(fit.cost().of({32, 1000}), 96'000, 1'500);
}

TEST(CostFit, NoCoefficientIsNegative) {
  CostFit fit;
  for (int i = 1; i < 200; ++i) fit.add({i, 10'000 - 10 * i}, 1'000'000 - 1'000 * i);
  EXPECT_GE(fit.cost().fixed_ns, 0.0);
  for (const double ns : fit.cost().token_ns) EXPECT_GE(ns, 0.0);
  EXPECT_GE(fit.cost().context_ns, 0.0);
}

TEST(CostFit, OneKindOfStepIsPredictedFromTheFirst) {
  CostFit fit;
  fit.add({64, 1000}, 5'000'000);
  EXPECT_NEAR(fit.cost().of({64, 1000}), 5'000'000, 50'000);
}

}  // namespace
}  // namespace sluice::schedule
