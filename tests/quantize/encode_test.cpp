#include "quantize/encode.h"

#include <cmath>
#include <vector>

#include <gmock/gmock.h>

#include "core/rng.h"
#include "kernels/half.h"
#include "kernels/ops.h"

namespace sluice::quantize {
namespace {

using core::DType;

constexpr uint64_t kSeed = 20261122;
constexpr int64_t kValues = 256 * 64;

// As weights are: nearly normal, a few outliers.
std::vector<float> weights_like(uint64_t seed) {
  core::Rng rng(seed);
  std::vector<float> values(static_cast<size_t>(kValues));
  for (float& v : values) {
    double sum = 0;
    for (int i = 0; i < 6; ++i) sum += rng.unit() - 0.5;
    v = static_cast<float>(sum * (rng.below(100) == 0 ? 0.1 : 0.03));
  }
  return values;
}

std::vector<float> through(DType type, const std::vector<float>& values) {
  std::vector<std::byte> blocks(static_cast<size_t>(core::bytes_of(type, kValues)));
  encode(type, values.data(), kValues, blocks.data());
  std::vector<float> decoded(values.size());
  kernels::decode(type, blocks.data(), kValues, decoded.data());
  return decoded;
}

double mean_square_error(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(double{a[i]} - double{b[i]}, 2);
  return sum / static_cast<double>(a.size());
}

// Blocks of `block` values rounded with the largest value's scale: what every encoder must beat.
double absmax_error(const std::vector<float>& values, int block, float levels) {
  std::vector<float> rounded(values.size());
  for (size_t begin = 0; begin < values.size(); begin += static_cast<size_t>(block)) {
    float largest = 0;
    for (int i = 0; i < block; ++i)
      largest = std::max(largest, std::fabs(values[begin + static_cast<size_t>(i)]));
    const float scale = largest / levels;
    for (int i = 0; i < block; ++i) {
      const size_t at = begin + static_cast<size_t>(i);
      rounded[at] = std::nearbyint(values[at] / scale) * scale;
    }
  }
  return mean_square_error(values, rounded);
}

struct Bound {
  DType type;
  int block;
  float levels;         // codes on one side of 0
  double share_of_max;  // of the absmax error
};

class EncodeTest : public ::testing::TestWithParam<Bound> {};

TEST_P(EncodeTest, LosesLessThanRoundingToTheLargestValue) {
  const auto [type, block, levels, share] = GetParam();
  const std::vector<float> values = weights_like(kSeed);
  const double error = mean_square_error(values, through(type, values));
  const double naive = absmax_error(values, block, levels);
  EXPECT_LT(error, share * naive) << core::info(type).name << ", seed " << kSeed << ": "
                                  << error / naive;
}

INSTANTIATE_TEST_SUITE_P(
    Types, EncodeTest,
    ::testing::Values(Bound{DType::kQ4_0, 32, 7.5f, 0.90}, Bound{DType::kQ4_1, 32, 7.5f, 0.90},
                      Bound{DType::kQ5_0, 32, 15.5f, 0.95}, Bound{DType::kQ5_1, 32, 15.5f, 0.95},
                      Bound{DType::kQ8_0, 32, 127.0f, 0.99}, Bound{DType::kQ4_K, 32, 7.5f, 0.90},
                      Bound{DType::kQ5_K, 32, 15.5f, 0.95}, Bound{DType::kQ6_K, 16, 31.5f, 1.02}),
    [](const auto& param) { return std::string(core::info(param.param.type).name); });

TEST(Encode, KeepsEveryHalfAndRoundsFloatsToTheNearest) {
  std::vector<float> halves(static_cast<size_t>(kValues));
  for (size_t i = 0; i < halves.size(); ++i)
    halves[i] = kernels::float_of_f16(static_cast<uint16_t>(i % 0x7c00));
  EXPECT_EQ(through(DType::kF16, halves), halves);
  EXPECT_EQ(through(DType::kF32, halves), halves);
  const std::vector<float> rounded = through(DType::kBF16, halves);
  for (size_t i = 0; i < halves.size(); ++i)
    EXPECT_LE(std::fabs(rounded[i] - halves[i]), std::fabs(halves[i]) / 256) << halves[i];
}

constexpr DType kBlockTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                                 DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

TEST(Encode, BlocksOfOneValueStayFinite) {
  for (const DType type : kBlockTypes)
    for (const float value : {0.0f, 1.0f, -1.0f, 1e-9f, -1e-30f, 60000.0f, -60000.0f}) {
      const std::vector<float> values(static_cast<size_t>(kValues), value);
      for (const float decoded : through(type, values)) {
        ASSERT_TRUE(std::isfinite(decoded)) << core::info(type).name << " of " << value;
        ASSERT_NEAR(decoded, value, 0.01 * std::fabs(value) + 1e-7) << core::info(type).name;
      }
    }
}

TEST(Encode, WhatABlockHoldsComesBackExactly) {
  // Codes times a power of two, in every block the extremes: the best scale is this one.
  for (const auto& [type, low, high] :
       {std::tuple(DType::kQ4_0, -8, 7), {DType::kQ5_0, -16, 15}, {DType::kQ8_0, -127, 127}}) {
    core::Rng rng(kSeed);
    std::vector<float> values(static_cast<size_t>(kValues));
    for (size_t i = 0; i < values.size(); ++i) {
      const int64_t code = i % 32 == 0 ? low : i % 32 == 1 ? high : low + rng.below(high - low + 1);
      values[i] = static_cast<float>(code) / 64;
    }
    EXPECT_EQ(through(type, values), values) << core::info(type).name << ", seed " << kSeed;
  }
}

TEST(Encode, ABlockDependsOnItsOwnValuesAlone) {
  const std::vector<float> values = weights_like(kSeed);
  for (const DType type : kBlockTypes) {
    const std::vector<float> whole = through(type, values);
    const int block = core::info(type).block_values;
    std::vector<std::byte> one(static_cast<size_t>(core::info(type).block_bytes));
    std::vector<float> decoded(static_cast<size_t>(block));
    encode(type, values.data() + 3 * block, block, one.data());
    kernels::decode(type, one.data(), block, decoded.data());
    EXPECT_THAT(decoded,
                ::testing::ElementsAreArray(whole.data() + 3 * block, static_cast<size_t>(block)));
  }
}

}  // namespace
}  // namespace sluice::quantize
