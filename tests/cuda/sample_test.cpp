// Sampling on the card against the engine's own sampler: the same tokens for the same random
// numbers, whatever the distribution and what cuts it off.
#include <chrono>
#include <cmath>
#include <limits>

#include "engine/sampling.h"
#include "kernels/registry.h"
#include "tests/cuda/support.h"

namespace sluice::kernels {
namespace {

struct Case {
  std::string name;
  engine::SamplingParams params;
};

std::vector<Case> cases() {
  return {{"greedy", {.temperature = 0}},
          {"temperature", {.temperature = 1}},
          {"hot", {.temperature = 5}},
          {"cold", {.temperature = 0.05f}},
          {"top_k", {.temperature = 0.9f, .top_k = 40}},
          {"top_k 1", {.temperature = 0.9f, .top_k = 1}},
          {"top_p", {.temperature = 0.8f, .top_p = 0.95f}},
          {"top_p 0", {.temperature = 0.8f, .top_p = 0}},
          {"min_p", {.temperature = 1.5f, .min_p = 0.05f}},
          {"all", {.temperature = 1.2f, .top_p = 0.9f, .top_k = 1000, .min_p = 0.001f}}};
}

// Rows of different shapes: flat, spread, ties, all equal, one far above the others.
std::vector<float> rows_of(int64_t rows, int64_t columns) {
  core::Rng rng(7);
  std::vector<float> logits;
  for (int64_t r = 0; r < rows; ++r) {
    const auto kind = r % 5;
    for (int64_t c = 0; c < columns; ++c) {
      const double x = 6 * (rng.unit() + rng.unit() + rng.unit() - 1.5);
      logits.push_back(static_cast<float>(kind == 0   ? x
                                          : kind == 1 ? 3 * x
                                          : kind == 2 ? std::round(2 * x)
                                          : kind == 3 ? 1.25
                                                      : (c == columns / 3 ? 60.0 : x)));
    }
  }
  return logits;
}

void expect_host_tokens(int64_t columns, int64_t stride, const Case& one,
                        const std::vector<int32_t>& masked) {
  constexpr int64_t kRows = 40;
  const std::vector<float> logits = rows_of(kRows, stride);
  engine::Sampler sampler(reference_ops(), static_cast<int32_t>(columns));
  engine::SamplingParams params = one.params;
  params.seed = 11;
  std::vector<SampleRow> how;
  std::vector<int32_t> expected;
  for (int64_t r = 0; r < kRows; ++r) {
    const auto position = static_cast<uint64_t>(r);
    how.push_back(engine::device_sample_row(params, masked, position));
    const auto row =
        std::span(logits).subspan(static_cast<size_t>(r * stride), static_cast<size_t>(columns));
    expected.push_back(
        engine::sample(
            {.logits = row, .params = &params, .masked_ids = masked, .position = position},
            &sampler)
            .token.token_id);
  }
  Device& cuda = *card().device;
  const OnDevice<float> on(cuda, logits);
  const OnDevice<SampleRow> how_on(cuda, how);
  const OnDevice<int32_t> ids(cuda, std::vector<int32_t>(kRows, -9));
  cuda.sample({.logits = on.data(),
               .rows = kRows,
               .stride = stride,
               .columns = columns,
               .how = how_on.data(),
               .ids = ids.data()});
  cuda.wait();
  EXPECT_EQ(ids.values(), expected) << one.name << ", " << columns << " columns";
}

struct CudaSample : ::testing::Test {
  void SetUp() override {
    NEEDS_CARD();
    (void)card().device->reserve({.rows_max = 64, .inputs_max = 64, .outputs_max = 64});
  }
};

TEST_F(CudaSample, TakesTheTokensOfTheHost) {
  for (const int64_t columns : {50, 1000, 49152, 151669})
    for (const Case& one : cases()) expect_host_tokens(columns, columns + columns % 7, one, {});
}

TEST_F(CudaSample, MaskedIdsNeverCome) {
  for (const Case& one : cases()) {
    expect_host_tokens(50, 56, one, {0, 16, 49});
    expect_host_tokens(1000, 1000, one, {333, 3, 4, 5, 6, 7, 8, 9});
  }
}

// Logits that are no numbers, padding that is none of a row's, and rows without a choice.
TEST_F(CudaSample, RowsWithoutATokenSaySo) {
  constexpr int64_t kColumns = 300, kStride = 304;
  std::vector<float> logits(5 * kStride, 1.0f);
  logits[17] = std::numeric_limits<float>::quiet_NaN();
  logits[kStride + 299] = -std::numeric_limits<float>::infinity();
  logits[2 * kStride + 300] = std::numeric_limits<float>::infinity();
  Device& cuda = *card().device;
  std::vector<SampleRow> how(5, {.unit = 0.999999, .temperature = 1});
  how[3] = {};
  const OnDevice<SampleRow> how_on(cuda, how);
  for (const bool plain : {false, true}) {
    const OnDevice<float> on(cuda, logits);
    const OnDevice<int32_t> ids(cuda, std::vector<int32_t>(5, -9));
    cuda.sample({.logits = on.data(),
                 .rows = 5,
                 .stride = kStride,
                 .columns = kColumns,
                 .how = plain ? nullptr : how_on.data(),
                 .ids = ids.data()});
    cuda.wait();
    EXPECT_EQ(ids.values(),
              plain ? (std::vector<int32_t>{kRowNotFinite, kRowNotFinite, 0, 0, 0})
                    : (std::vector<int32_t>{kRowNotFinite, kRowNotFinite, 299, 0, 299}));
  }
  SampleRow all{.masked_count = 3, .masked_ids = {0, 1, 2}};
  const OnDevice<SampleRow> all_on(cuda, {all});
  const OnDevice<float> three(cuda, {1, 2, 3});
  const OnDevice<int32_t> id(cuda, std::vector<int32_t>{-9});
  cuda.sample({.logits = three.data(),
               .rows = 1,
               .stride = 3,
               .columns = 3,
               .how = all_on.data(),
               .ids = id.data()});
  cuda.wait();
  EXPECT_EQ(id.values(), std::vector<int32_t>{kRowAllMasked});
}

TEST_F(CudaSample, IdsOfTheStepBeforeAreTaken) {
  Device& cuda = *card().device;
  const OnDevice<int32_t> sampled(cuda, std::vector<int32_t>{70, kRowNotFinite, 90});
  const OnDevice<int32_t> ids(cuda, std::vector<int32_t>{-3, 5, -1, -2, 0});
  cuda.take_sampled(ids.data(), 5, sampled.data());
  cuda.wait();
  EXPECT_EQ(ids.values(), (std::vector<int32_t>{90, 5, 70, 0, 0}));
}

// Printed, not judged: what a step pays for it.
TEST_F(CudaSample, TimeOfARow) {
  constexpr int64_t kColumns = 128256, kTimes = 100;
  Device& cuda = *card().device;
  for (const int64_t rows : {1, 64}) {
    const OnDevice<float> on(cuda, rows_of(rows, kColumns));
    const OnDevice<int32_t> ids(cuda, std::vector<int32_t>(static_cast<size_t>(rows), -9));
    for (const Case& one : cases()) {
      const OnDevice<SampleRow> how(
          cuda, std::vector<SampleRow>(static_cast<size_t>(rows),
                                       engine::device_sample_row(one.params, {}, 5)));
      const DeviceSampleArgs args{.logits = on.data(),
                                  .rows = rows,
                                  .stride = kColumns,
                                  .columns = kColumns,
                                  .how = one.name == "greedy" ? nullptr : how.data(),
                                  .ids = ids.data()};
      cuda.sample(args);
      cuda.wait();
      const auto begin = std::chrono::steady_clock::now();
      for (int64_t i = 0; i < kTimes; ++i) cuda.sample(args);
      cuda.wait();
      const std::chrono::duration<double, std::micro> taken =
          std::chrono::steady_clock::now() - begin;
      printf("sample %-12s %2d rows %7.1f us\n", one.name.c_str(), static_cast<int>(rows),
             taken.count() / kTimes);
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
