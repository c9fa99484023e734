#include "schedule/cost_model.h"

#include <gtest/gtest.h>

#include "core/rng.h"

namespace sluice::schedule {
namespace {

TEST(CostFit, FindsTheCoefficientsOfNoisySteps) {
  const uint64_t seed = 7;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  core::Rng random(seed);
  const StepCost truth{.fixed_ns = 2e6, .token_ns = 3e5, .context_ns = 40};
  CostFit fit;
  for (int i = 0; i < 400; ++i) {
    const StepSize size{1 + random.below(512), random.below(400'000)};
    fit.add(size, static_cast<int64_t>(truth.of(size) * (0.95 + 0.1 * random.unit())));
  }
  const StepSize probe{100, 50'000};
  EXPECT_NEAR(fit.cost().of(probe) / truth.of(probe), 1.0, 0.03);
  EXPECT_NEAR(fit.cost().token_ns / truth.token_ns, 1.0, 0.05);
  EXPECT_NEAR(fit.cost().context_ns / truth.context_ns, 1.0, 0.1);
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
  EXPECT_GE(fit.cost().token_ns, 0.0);
  EXPECT_GE(fit.cost().context_ns, 0.0);
}

TEST(CostFit, OneKindOfStepIsPredictedFromTheFirst) {
  CostFit fit;
  fit.add({64, 1000}, 5'000'000);
  EXPECT_NEAR(fit.cost().of({64, 1000}), 5'000'000, 50'000);
}

}  // namespace
}  // namespace sluice::schedule
