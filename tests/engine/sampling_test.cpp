#include "engine/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/rng.h"
#include "kernels/ref/ref_device.h"
#include "kernels/registry.h"

namespace sluice::engine {
namespace {

using testing::ElementsAre;
using testing::FloatNear;
using testing::Pointwise;

constexpr int32_t kVocab = 300;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Sampling : public testing::Test {
 protected:
  int32_t at(double unit, const std::vector<float>& logits, const SamplingParams& params) {
    return choose(logits, params, unit, &sampler_);
  }

  // How often each token comes, over evenly spread random numbers.
  std::map<int32_t, double> shares(const std::vector<float>& logits, const SamplingParams& params) {
    constexpr int kDraws = 20'000;
    std::map<int32_t, double> found;
    for (int i = 0; i < kDraws; ++i) found[at((i + 0.5) / kDraws, logits, params)] += 1.0 / kDraws;
    return found;
  }

  Sampler sampler_{kernels::reference_ops(), kVocab};
};

// Logits of the probabilities 0.5, 0.3, 0.15 and 0.05, in an order of their own.
const std::vector<float> kFour = {std::log(0.15f), std::log(0.5f), std::log(0.05f), std::log(0.3f)};

using Shares = std::map<int32_t, double>;
void expect_near(const Shares& found, const Shares& want) {
  ASSERT_EQ(found.size(), want.size());
  for (const auto& [id, share] : want) {
    ASSERT_TRUE(found.contains(id)) << id;
    EXPECT_NEAR(found.at(id), share, 2e-3) << id;
  }
}

TEST_F(Sampling, FollowsTheDistribution) {
  expect_near(shares(kFour, {}), {{0, 0.15}, {1, 0.5}, {2, 0.05}, {3, 0.3}});
}

TEST_F(Sampling, TemperatureSharpensIt) {
  const double sum = 0.25 + 0.09 + 0.0225 + 0.0025;
  expect_near(shares(kFour, {.temperature = 0.5f}),
              {{0, 0.0225 / sum}, {1, 0.25 / sum}, {2, 0.0025 / sum}, {3, 0.09 / sum}});
}

TEST_F(Sampling, TemperatureZeroTakesTheBest) {
  for (double unit : {0.0, 0.5, 0.999}) EXPECT_EQ(at(unit, kFour, {.temperature = 0.0f}), 1);
  EXPECT_EQ(at(0.9, {1.0f, 3.0f, 3.0f}, {.temperature = 0.0f}), 1) << "the lower of equals";
}

TEST_F(Sampling, TopKKeepsK) {
  expect_near(shares(kFour, {.top_k = 2}), {{1, 0.625}, {3, 0.375}});
  expect_near(shares(kFour, {.top_k = 1}), {{1, 1.0}});
  expect_near(shares({0.0f, 0.0f, 0.0f, 0.0f}, {.top_k = 2}), {{0, 0.5}, {1, 0.5}});
}

TEST_F(Sampling, TopPKeepsTheFewestThatReachIt) {
  expect_near(shares(kFour, {.top_p = 0.49f}), {{1, 1.0}});
  expect_near(shares(kFour, {.top_p = 0.51f}), {{1, 0.625}, {3, 0.375}});
  expect_near(shares(kFour, {.top_p = 0.79f}), {{1, 0.625}, {3, 0.375}});
  expect_near(shares(kFour, {.top_p = 0.81f}),
              {{0, 0.15 / 0.95}, {1, 0.5 / 0.95}, {3, 0.3 / 0.95}});
  expect_near(shares(kFour, {.top_p = 0.001f}), {{1, 1.0}});
}

TEST_F(Sampling, TopPIsOfWhatTopKLeft) {
  // 0.5 and 0.3 become 0.625 and 0.375: the first alone reaches 0.6.
  expect_near(shares(kFour, {.top_p = 0.6f, .top_k = 2}), {{1, 1.0}});
  expect_near(shares(kFour, {.top_p = 0.6f}), {{1, 0.625}, {3, 0.375}});
}

TEST_F(Sampling, MinPIsRelativeToTheBest) {
  expect_near(shares(kFour, {.min_p = 0.29f}),
              {{0, 0.15 / 0.95}, {1, 0.5 / 0.95}, {3, 0.3 / 0.95}});
  expect_near(shares(kFour, {.min_p = 0.31f}), {{1, 0.625}, {3, 0.375}});
  expect_near(shares(kFour, {.top_k = 3, .min_p = 0.31f}), {{1, 0.625}, {3, 0.375}});
  // min_p first, then top_p of what it left: 0.5 / 0.8 ≥ 0.6.
  expect_near(shares(kFour, {.top_p = 0.6f, .min_p = 0.31f}), {{1, 1.0}});
}

// The same rules with everything sorted.
int32_t choose_slowly(const std::vector<float>& logits, const SamplingParams& params, double unit) {
  std::vector<std::pair<double, int32_t>> all;
  const double best = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  for (size_t i = 0; i < logits.size(); ++i)
    all.emplace_back(
        std::exp((static_cast<double>(logits[i]) - best) / static_cast<double>(params.temperature)),
        i);
  std::stable_sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.first > b.first; });
  const auto sum = [&] {
    return std::accumulate(all.begin(), all.end(), 0.0,
                           [](double s, auto& entry) { return s + entry.first; });
  };
  std::erase_if(all, [&](auto& entry) { return entry.first < static_cast<double>(params.min_p); });
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < all.size())
    all.resize(static_cast<size_t>(params.top_k));
  const double wanted = static_cast<double>(params.top_p) * sum();
  double better = 0.0;
  size_t kept = 0;
  while (kept < all.size() && (kept == 0 || better < wanted)) better += all[kept++].first;
  if (params.top_p < 1.0f) all.resize(kept);
  std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.second < b.second; });
  double left = unit * sum();
  for (const auto& [weight, id] : all)
    if ((left -= weight) < 0.0) return id;
  return all.back().second;
}

TEST_F(Sampling, AgreesWithSortingEverything) {
  const uint64_t seed = 11;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  core::Rng random(seed);
  int different = 0;
  constexpr int kCases = 3000;
  for (int i = 0; i < kCases; ++i) {
    std::vector<float> logits(kVocab);
    const double width = 1.0 + 10.0 * random.unit();
    for (float& l : logits) l = static_cast<float>(width * (random.unit() + random.unit()));
    SamplingParams params;
    params.temperature = static_cast<float>(0.2 + 1.5 * random.unit());
    if (random.below(2) == 0) params.top_k = static_cast<int32_t>(1 + random.below(kVocab - 1));
    if (random.below(2) == 0) params.top_p = static_cast<float>(0.01 + 0.99 * random.unit());
    if (random.below(2) == 0) params.min_p = static_cast<float>(0.5 * random.unit());
    const double unit = random.unit();
    different += at(unit, logits, params) != choose_slowly(logits, params, unit);
  }
  EXPECT_LE(different, 3) << "only rounding at an edge may differ, of " << kCases;
}

TEST_F(Sampling, PenaltiesCountPromptAndOutputAsVllmDoes) {
  TokenHistory history;
  history.add_prompt(0);
  history.add_prompt(1);
  history.add_output(1);
  history.add_output(2);
  history.add_output(2);
  history.add_output(3);
  std::vector<float> logits = {2.0f, -2.0f, 2.0f, -2.0f, 2.0f};
  apply_penalties(
      {.repetition_penalty = 2.0f, .presence_penalty = 0.25f, .frequency_penalty = 0.5f}, history,
      logits);
  EXPECT_THAT(logits, ElementsAre(1.0f, -4.75f, -0.25f, -4.75f, 2.0f));
}

TEST_F(Sampling, HistoryKeepsEachTokenOnce) {
  TokenHistory history;
  std::map<int32_t, int32_t> want;
  core::Rng random(3);
  for (int i = 0; i < 5000; ++i) {
    const auto id = static_cast<int32_t>(random.below(700) * 1024);
    if (random.below(3) == 0) {
      history.add_prompt(id);
      want[id] += 0;
    } else {
      history.add_output(id);
      want[id] += 1;
    }
  }
  ASSERT_EQ(history.entries().size(), want.size());
  for (const TokenHistory::Entry& e : history.entries()) EXPECT_EQ(e.outputs, want[e.token_id]);
}

TEST_F(Sampling, BiasAndMaskDecide) {
  SamplingParams params{.temperature = 0.0f, .logit_bias = {{2, 100.0f}}};
  EXPECT_EQ(sample({.logits = kFour, .params = &params}, &sampler_).token.token_id, 2);
  const std::vector<int32_t> masked = {2, 1};
  EXPECT_EQ(
      sample({.logits = kFour, .params = &params, .masked_ids = masked}, &sampler_).token.token_id,
      3);
}

TEST_F(Sampling, AMaskedTokenNeverComes) {
  const std::vector<int32_t> masked = {1};
  for (const SamplingParams& cut : {SamplingParams{}, SamplingParams{.top_p = 0.999f},
                                    SamplingParams{.top_k = 4 - 1}, SamplingParams{.min_p = 1e-6f}})
    for (uint64_t position = 0; position < 500; ++position)
      EXPECT_NE(
          sample({.logits = kFour, .params = &cut, .masked_ids = masked, .position = position},
                 &sampler_)
              .token.token_id,
          1);
}

TEST_F(Sampling, ExtremeParametersGiveSomeToken) {
  TokenHistory history;
  history.add_prompt(0);
  history.add_output(1);
  history.add_output(1);
  const std::vector<int32_t> masked = {2};
  for (const float temperature : {1.1e-5f, 1.0f, 1e30f})
    for (const float repetition : {1e-38f, 1.0f, 1e38f})
      for (const float penalty : {-3e38f, 0.0f, 3e38f})
        for (const int cut : {0, 1, 2, 3, 4}) {
          const SamplingParams params{.temperature = temperature,
                                      .top_p = cut == 1   ? 1e-30f
                                               : cut == 4 ? 0.0f
                                                          : 1.0f,
                                      .top_k = cut == 2 ? 3 : 0,
                                      .min_p = cut == 3 ? 1.0f : 0.0f,
                                      .repetition_penalty = repetition,
                                      .presence_penalty = penalty,
                                      .frequency_penalty = penalty,
                                      .logit_bias = {{3, penalty}}};
          const auto sampled = sample(
              {.logits = kFour, .params = &params, .history = &history, .masked_ids = masked},
              &sampler_);
          ASSERT_EQ(sampled.outcome, SampleOutcome::kToken);
          EXPECT_NE(sampled.token.token_id, 2);
        }
}

// Every probability is below the first threshold of top_p.
TEST_F(Sampling, ATopPOfNothingKeepsTheBestOfALongFlatRow) {
  const std::vector<float> flat(4096, 0.5f);
  Sampler sampler(kernels::reference_ops(), 4096);
  for (const float top_p : {0.0f, 1e-45f, 1e-10f})
    for (const float min_p : {0.0f, 0.5f})
      for (const int32_t top_k : {0, 4000}) {
        const SamplingParams params{
            .temperature = 2.0f, .top_p = top_p, .top_k = top_k, .min_p = min_p};
        EXPECT_EQ(choose(flat, params, 0.9, &sampler), 0) << top_p << ' ' << min_p;
      }
}

TEST_F(Sampling, ARowWhoseEveryIdIsMaskedHasNoToken) {
  const std::vector<int32_t> masked = {0, 1, 2, 3};
  for (const SamplingParams& params :
       {SamplingParams{.temperature = 0.0f}, SamplingParams{}, SamplingParams{.top_p = 0.9f},
        SamplingParams{.top_k = 2}, SamplingParams{.min_p = 0.1f}})
    EXPECT_EQ(sample({.logits = kFour, .params = &params, .masked_ids = masked}, &sampler_).outcome,
              SampleOutcome::kAllMasked);
}

// Penalties so strong that every logit would be −∞ still leave the order of the ids.
TEST_F(Sampling, PenaltiesNeverForbidEveryToken) {
  TokenHistory history;
  for (int32_t id = 0; id < 4; ++id) history.add_output(id);
  for (const int32_t top_k : {0, 2}) {
    const SamplingParams params{.top_k = top_k,
                                .repetition_penalty = 3e38f,
                                .presence_penalty = 3e38f,
                                .frequency_penalty = 3e38f};
    EXPECT_EQ(sample({.logits = kFour, .params = &params, .history = &history}, &sampler_).outcome,
              SampleOutcome::kToken);
  }
}

TEST_F(Sampling, LogProbabilitiesAreTheModelsOwn) {
  SamplingParams params{.temperature = 0.0f, .logit_bias = {{2, 100.0f}}, .logprobs_top = 2};
  std::array<TokenLogprob, 2> top;
  const auto sampled = sample({.logits = kFour, .params = &params, .top = top}, &sampler_);
  ASSERT_EQ(sampled.outcome, SampleOutcome::kToken);
  EXPECT_EQ(sampled.token.token_id, 2);
  EXPECT_NEAR(sampled.token.logprob, std::log(0.05f), 1e-5f);
  EXPECT_EQ(top[0].token_id, 1);
  EXPECT_NEAR(top[0].logprob, std::log(0.5f), 1e-5f);
  EXPECT_EQ(top[1].token_id, 3);
}

// What tests on a card compare with: its reference takes the host's tokens.
TEST_F(Sampling, AReferenceDeviceTakesTheSameTokens) {
  const auto device = kernels::make_reference_device();
  core::Rng rng(21);
  for (uint64_t row = 0; row < 400; ++row) {
    std::vector<float> logits(kVocab);
    for (float& l : logits) l = static_cast<float>(row % 4 == 0 ? rng.below(6) : 12 * rng.unit());
    SamplingParams params{.temperature = static_cast<float>(rng.below(4)) * 0.5f, .seed = row};
    if (rng.below(2) == 0) params.top_k = 1 + static_cast<int32_t>(rng.below(40));
    if (rng.below(2) == 0) params.top_p = static_cast<float>(rng.unit());
    if (rng.below(3) == 0) params.min_p = 0.2f;
    std::vector<int32_t> masked;
    if (rng.below(3) == 0) masked = {0, 5, static_cast<int32_t>(rng.below(kVocab - 6)) + 6};
    if (row % 50 == 49) logits[7] = kInfinity;
    ASSERT_TRUE(device_can_sample(params, masked));
    const kernels::SampleRow how = device_sample_row(params, masked, row);
    const Sample want = sample(
        {.logits = logits, .params = &params, .masked_ids = masked, .position = row}, &sampler_);
    int32_t id = 0;
    device->sample({.logits = logits.data(),
                    .rows = 1,
                    .stride = kVocab,
                    .columns = kVocab,
                    .how = &how,
                    .ids = &id});
    EXPECT_EQ(sample_of(id).outcome, want.outcome) << row;
    EXPECT_EQ(sample_of(id).token.token_id, want.token.token_id) << row;
  }
}

TEST_F(Sampling, SomeRowsAreTheHostsAlone) {
  EXPECT_TRUE(device_can_sample({.top_p = 0.5f, .top_k = 5, .min_p = 0.1f}, {}));
  EXPECT_FALSE(device_can_sample({.repetition_penalty = 1.1f}, {}));
  EXPECT_FALSE(device_can_sample({.logit_bias = {{1, 2.0f}}}, {}));
  EXPECT_FALSE(device_can_sample({.logprobs_top = 0}, {}));
  EXPECT_FALSE(device_can_sample({}, std::vector<int32_t>(9, 1)));
}

TEST_F(Sampling, TheRandomNumberIsAFunctionOfSeedAndPosition) {
  const std::vector<float> flat(kVocab, 0.0f);
  const auto token = [&](uint64_t seed, uint64_t position) {
    SamplingParams params{.seed = seed};
    return sample({.logits = flat, .params = &params, .position = position}, &sampler_)
        .token.token_id;
  };
  EXPECT_EQ(token(1, 7), static_cast<int32_t>(core::random_unit(1, 7) * kVocab));
  EXPECT_EQ(token(1, 7), token(1, 7));
  EXPECT_NE(token(1, 7), token(1, 8));
  EXPECT_NE(token(1, 7), token(2, 7));
}

TEST_F(Sampling, LogitsThatAreNoNumbersAreRefused) {
  SamplingParams params;
  for (const float bad : {std::nanf(""), kInfinity, -kInfinity})
    for (const size_t where : {size_t{0}, size_t{63}, size_t{64}, size_t{kVocab - 1}}) {
      std::vector<float> logits(kVocab, 1.0f);
      EXPECT_TRUE(all_finite(logits));
      logits[where] = bad;
      EXPECT_FALSE(all_finite(logits));
      EXPECT_EQ(sample({.logits = logits, .params = &params}, &sampler_).outcome,
                SampleOutcome::kNotFinite);
    }
}

}  // namespace
}  // namespace sluice::engine
