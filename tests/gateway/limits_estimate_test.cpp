// Estimates of prompt and output tokens: a safe start, what they learn, how far off they may be.

#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "core/rng.h"
#include "gateway/limits/output_estimate.h"
#include "gateway/limits/prompt_estimate.h"

namespace sluice::gateway {
namespace {

TEST(LimitsPromptEstimate, StartsWithATokenForEachByte) {
  const PromptEstimate estimate;
  const TokenRange range = estimate.range({.text_bytes = 1'000, .messages = 2});
  EXPECT_EQ(range.least, 0);
  EXPECT_EQ(range.most, 1'000 + 2 * PromptEstimate::kTemplateTokens);
  EXPECT_GT(estimate.range({}).most, 0);
}

// Text of 3.5 to 5 bytes a token: hardly any prompt needs more than the bound, and the bound is far
// below a token for each byte.
TEST(LimitsPromptEstimate, LearnsABoundThatHolds) {
  constexpr uint64_t kSeed = 31;
  core::Rng rng(kSeed);
  PromptEstimate estimate;
  int64_t above = 0;
  int64_t below = 0;
  double bound_share = 0.0;
  constexpr int kPrompts = 20'000;
  for (int i = 0; i < kPrompts; ++i) {
    const PromptSize prompt = {.text_bytes = 2'000 + rng.below(2'000), .messages = 1};
    const auto tokens =
        static_cast<int64_t>(static_cast<double>(prompt.text_bytes) / (3.5 + 1.5 * rng.unit()));
    const TokenRange range = estimate.range(prompt);
    if (i >= PromptEstimate::kSamplesMin * 4) {
      above += tokens > range.most ? 1 : 0;
      below += tokens < range.least ? 1 : 0;
      bound_share += static_cast<double>(range.most) / static_cast<double>(prompt.text_bytes);
    }
    estimate.learn(prompt, tokens);
  }
  EXPECT_LE(above, kPrompts / 1'000) << "seed " << kSeed;
  EXPECT_LE(below, kPrompts / 1'000) << "seed " << kSeed;
  EXPECT_LT(bound_share / kPrompts, 0.36) << "at most an eighth over 1 / 3.5, with the template";
}

TEST(LimitsPromptEstimate, RisesAtOnceAndForgetsSlowly) {
  PromptEstimate estimate;
  const PromptSize prompt = {.text_bytes = 4'000, .messages = 1};
  for (int i = 0; i < 100; ++i) estimate.learn(prompt, 1'000);
  EXPECT_LE(estimate.range(prompt).most, 1'130);
  EXPECT_GE(estimate.range(prompt).least, 870);
  estimate.learn(prompt, 3'000);
  EXPECT_GE(estimate.range(prompt).most, 3'000);
  for (int i = 0; i < 20; ++i) estimate.learn(prompt, 1'000);
  EXPECT_GE(estimate.range(prompt).most, 2'500);
  for (int i = 0; i < 2'000; ++i) estimate.learn(prompt, 1'000);
  EXPECT_LE(estimate.range(prompt).most, 1'150);
}

TEST(LimitsPromptEstimate, SizesAreLearntApart) {
  PromptEstimate estimate;
  for (int i = 0; i < 100; ++i) estimate.learn({.text_bytes = 4'000, .messages = 1}, 1'000);
  const PromptSize small = {.text_bytes = 10, .messages = 1};
  EXPECT_EQ(estimate.range(small).most, 10 + PromptEstimate::kTemplateTokens);
}

TEST(LimitsPromptEstimate, SizesAtTheEdges) {
  PromptEstimate estimate;
  for (const int64_t bytes : {int64_t{0}, int64_t{-5}, INT64_MAX}) {
    const PromptSize prompt = {.text_bytes = bytes, .messages = INT64_MAX};
    for (int i = 0; i < 50; ++i) estimate.learn(prompt, i % 2 == 0 ? INT64_MAX : -1);
    EXPECT_GE(estimate.range(prompt).most, 0);
    EXPECT_GE(estimate.range(prompt).least, 0);
  }
}

TEST(LimitsOutputHistogram, TooFewSayNothing) {
  OutputHistogram histogram;
  for (int i = 1; i < OutputHistogram::kSamplesMin; ++i) histogram.learn(10);
  EXPECT_EQ(histogram.p95(), std::nullopt);
  histogram.learn(10);
  EXPECT_NE(histogram.p95(), std::nullopt);
}

TEST(LimitsOutputHistogram, NotBelowTheTruthAndLessThanAQuarterAbove) {
  constexpr uint64_t kSeed = 32;
  core::Rng rng(kSeed);
  for (int round = 0; round < 200; ++round) {
    OutputHistogram histogram;
    std::vector<int64_t> answers;
    const double scale = 1.0 + 10.0 * rng.unit();
    for (int i = 0; i < 500; ++i) {
      answers.push_back(static_cast<int64_t>(std::exp(scale * rng.unit())));
      histogram.learn(answers.back());
    }
    std::sort(answers.begin(), answers.end());
    const int64_t truth = answers[475 - 1];
    ASSERT_GE(histogram.p95(), truth) << "seed " << kSeed;
    ASSERT_LT(static_cast<double>(*histogram.p95()), 1.25 * static_cast<double>(truth));
  }
}

TEST(LimitsOutputHistogram, EveryLengthHasItsBucket) {
  for (const int64_t tokens : {0L, 1L, 2L, 3L, 4L, 5L, 7L, 8L, 63L, 64L, 1'000'000L, 1'048'575L}) {
    OutputHistogram histogram;
    for (int i = 0; i < 20; ++i) histogram.learn(tokens);
    EXPECT_GE(histogram.p95(), tokens);
    EXPECT_LE(histogram.p95(), tokens + tokens / 4);
  }
  OutputHistogram histogram;
  for (int i = 0; i < 20; ++i) histogram.learn(i % 2 == 0 ? INT64_MAX : -1);
  EXPECT_EQ(histogram.p95(), (1 << 20) - 1);
}

TEST(LimitsOutputHistogram, TheLastThousandDecide) {
  OutputHistogram histogram;
  for (int i = 0; i < 100'000; ++i) histogram.learn(4'000);
  for (int i = 0; i < 4'000; ++i) histogram.learn(100);
  EXPECT_LE(histogram.p95(), 125);
}

TEST(LimitsOutputEstimates, EachPairForItself) {
  OutputEstimates estimates(1'024);
  for (int i = 0; i < 50; ++i) {
    for (uint64_t pair = 0; pair < 100; ++pair) {
      estimates.learn(pair, static_cast<int64_t>(10 * (pair + 1)));
    }
  }
  EXPECT_EQ(estimates.likely(12345, 700), 700) << "unknown: all of it";
  EXPECT_EQ(estimates.likely(99, 700), 700);
  int64_t known = 0;
  for (uint64_t pair = 1; pair < 100; ++pair) {
    const auto truth = static_cast<int64_t>(10 * (pair + 1));
    const int64_t likely = estimates.likely(pair, 100'000);
    known += likely >= truth && likely <= truth + truth / 4 ? 1 : 0;
  }
  EXPECT_GE(known, 97) << "100 of 1,024 places";
}

TEST(LimitsOutputEstimates, TheOldestMakesRoom) {
  OutputEstimates estimates(4);
  for (uint64_t pair = 1; pair <= 1'000; ++pair) estimates.learn(pair, 10);
  for (int i = 0; i < 50; ++i) estimates.learn(5'000, 10);
  EXPECT_LE(estimates.likely(5'000, 1'000), 12);
  EXPECT_EQ(estimates.likely(1, 1'000), 1'000);
}

}  // namespace
}  // namespace sluice::gateway
