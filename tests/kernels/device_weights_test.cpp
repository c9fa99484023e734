// Weights as they lie on a device: what the reference device reads is what decode() says.
#include "kernels/device_weights.h"

#include <gtest/gtest.h>

#include "kernels/half.h"
#include "kernels/ref/ref_device.h"
#include "tests/kernels/support.h"

namespace sluice::kernels {
namespace {

using core::DType;

// The largest difference that a type's form on the device may make, as a share of all values: none
// where codes and scales are kept, rounding of scales to f16 or of values to bf16.
double limit_of(DType type) {
  if (type == DType::kBF16 || type == DType::kQ8_0 || type == DType::kQ4_0 ||
      type == DType::kQ4_1 || type == DType::kF8_B128)
    return 1e-6;
  return type == DType::kQ4_K || type == DType::kQ6_K || type == DType::kI4_B32 ||
                 type == DType::kI4_Z32 || type == DType::kI8_B32
             ? 5e-4
             : 0.003;
}

// One-hot inputs of bf16: the product is the matrix.
TEST(DeviceWeights, EveryTypeKeepsItsValues) {
  const uint64_t seed = 31;
  core::Rng rng(seed);
  const auto device = make_reference_device();
  constexpr int64_t kInputs = 512, kOutputs = 7;
  std::vector<uint16_t> one_hot(kInputs * kInputs, 0);
  for (size_t i = 0; i < kInputs; ++i) one_hot[i * kInputs + i] = bf16_of_float(1);
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ4_1,
                           DType::kQ5_0, DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K,
                           DType::kF8_B128, DType::kI4_B32, DType::kI4_Z32, DType::kI8_B32}) {
    const auto blocks = random_blocks(rng, type, kOutputs * kInputs);
    std::vector<float> expected(kOutputs * kInputs), got(kInputs * kOutputs, NAN), turned;
    decode(type, blocks.data(), kOutputs * kInputs, expected.data());
    std::vector<std::byte> packed(
        static_cast<size_t>(device_weight_bytes(type, kOutputs, kInputs)));
    for (int thread = 0; thread < 3; ++thread)
      pack_for_device({type, kOutputs, kInputs, blocks.data(), packed.data()}, thread, 3);
    const PackedWeights weights{device_weight_type(type), kOutputs, kInputs, packed.data()};
    device->linear({.x = one_hot.data(), .rows = kInputs, .products = {{{weights, got.data()}}}});
    for (size_t output = 0; output < kOutputs; ++output)
      for (size_t input = 0; input < kInputs; ++input)
        turned.push_back(got[input * kOutputs + output]);
    EXPECT_LT(relative_error(turned, expected), limit_of(type))
        << core::info(type).name << ", seed " << seed;
  }
}

TEST(DeviceWeights, BytesAreThoseOfTheFileOrLittleMore) {
  EXPECT_EQ(device_weight_bytes(DType::kBF16, 10, 64), 10 * 64 * 2);
  EXPECT_EQ(device_weight_bytes(DType::kQ8_0, 10, 64), 10 * 2 * 34);
  EXPECT_EQ(device_weight_bytes(DType::kQ4_0, 10, 64), 10 * 2 * 18);
  EXPECT_EQ(device_weight_bytes(DType::kQ4_K, 10, 256), 10 * 8 * 20);
  EXPECT_EQ(device_weight_bytes(DType::kQ6_K, 10, 256), 10 * 8 * 28);
  EXPECT_EQ(device_weight_bytes(DType::kF8_B128, 10, 256), 10 * 2 * 132);
  EXPECT_EQ(device_weight_bytes(DType::kI4_B32, 10, 64), 10 * 2 * 18);
  EXPECT_EQ(device_weight_bytes(DType::kI4_Z32, 10, 64), 10 * 2 * 20);
  EXPECT_EQ(device_weight_bytes(DType::kI8_B32, 10, 64), 10 * 2 * 34);
  EXPECT_EQ(device_weight_bytes(DType::kQ6_K, 10, 256, DeviceUse::kStack), 10 * 256 * 2);
}

}  // namespace
}  // namespace sluice::kernels
