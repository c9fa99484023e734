// linear() of every table: error against ref, equal bits whatever the rows and threads, and equal
// bits of the int8 tables.
#include <map>

#include <gtest/gtest.h>

#include "tests/kernels/support.h"

namespace sluice::kernels {
namespace {

using core::DType;

constexpr DType kTypes[] = {DType::kF32,     DType::kF16,    DType::kBF16,   DType::kQ4_0,
                            DType::kQ4_1,    DType::kQ5_0,   DType::kQ5_1,   DType::kQ8_0,
                            DType::kQ2_K,    DType::kQ3_K,   DType::kQ4_K,   DType::kQ5_K,
                            DType::kQ6_K,    DType::kIQ4_NL, DType::kIQ4_XS, DType::kMXFP4,
                            DType::kF8_B128, DType::kI4_B32, DType::kI4_Z32, DType::kI8_B32};

bool has_own_layout(DType type) {
  return type != DType::kQ2_K && type != DType::kQ3_K && type != DType::kIQ4_NL &&
         type != DType::kIQ4_XS && type != DType::kF8_B128;
}

// Relative error (support.h) that a format may have. Int8 activations lose 1/sqrt(12) of a step,
// max/127 of their block: about 0.005 of normal values; types stored in 8 bits as much again. bf16
// activations lose up to 1/512 of each value, and so do F16 weights. One scale for a row of int8 is
// that of its largest value, some 4 times the usual one. Planes round the scales of blocks to whole
// numbers, one unit a row, the largest scale being some hundreds; wide planes round weights and
// activations to 15 bits.
double limit_of(const Ops& ops, DType type) {
  switch (ops.activation_form(type)) {
    case ActivationForm::kF32:
      return 1e-6;
    case ActivationForm::kBf16:
    case ActivationForm::kPlanes:
      return 0.004;
    case ActivationForm::kWidePlanes:
      return has_own_layout(type) ? 0.0003 : 0.009;
    case ActivationForm::kInt8Rows:
      return 0.013;
    case ActivationForm::kInt8:
      break;
  }
  return has_own_layout(type) ? 0.011 : 0.014;
}

std::vector<int64_t> input_sizes(DType type) {
  if (core::info(type).block_values == 256) return {256, 768, 2048};
  if (core::info(type).block_values == 128) return {128, 384, 896, 1792};
  if (core::info(type).block_values == 32) return {32, 96, 576, 1536};
  return {1, 7, 32, 100, 576};
}

TEST(Linear, EveryTypeAgreesWithReference) {
  const uint64_t seed = 4242;
  core::Rng rng(seed);
  for (DType type : kTypes)
    for (int64_t inputs : input_sizes(type))
      for (int64_t outputs : {16, 17, 40, 130}) {
        const int64_t rows = 1 + rng.below(20);
        const auto blocks = random_blocks(rng, type, outputs * inputs);
        const auto x = normals(rng, rows * inputs), bias = normals(rng, outputs);
        const auto residual = normals(rng, rows * outputs);
        const LinearCase with{x.data(), rows, bias.data(), residual.data(), 1};
        const Packed reference = pack_weights(reference_ops(), type, outputs, inputs, blocks);
        const auto expected = run_linear(reference_ops(), reference.weights, with);
        for (const Ops* ops : runnable_ops()) {
          const Packed packed = pack_weights(*ops, type, outputs, inputs, blocks, 2);
          const double error = relative_error(run_linear(*ops, packed.weights, with), expected);
          EXPECT_LT(error, limit_of(*ops, type))
              << ops->name << ' ' << core::info(type).name << ' ' << rows << "×" << outputs << "×"
              << inputs << ", seed " << seed;
        }
      }
}

// The true sum in double over decoded weights: ref is what it says.
TEST(Linear, ReferenceIsExactToFloat) {
  core::Rng rng(99);
  for (DType type : {DType::kQ4_1, DType::kQ8_0, DType::kF32}) {
    const int64_t inputs = 1536, outputs = 24, rows = 5;
    const auto blocks = random_blocks(rng, type, outputs * inputs);
    const auto x = normals(rng, rows * inputs);
    const Packed packed = pack_weights(reference_ops(), type, outputs, inputs, blocks);
    const auto y = run_linear(reference_ops(), packed.weights, {x.data(), rows});
    std::vector<float> w(static_cast<size_t>(outputs * inputs)), expected;
    decode(type, blocks.data(), outputs * inputs, w.data());
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t n = 0; n < outputs; ++n) {
        double sum = 0;
        for (int64_t k = 0; k < inputs; ++k)
          sum += double{x[static_cast<size_t>(r * inputs + k)]} *
                 double{w[static_cast<size_t>(n * inputs + k)]};
        expected.push_back(static_cast<float>(sum));
      }
    EXPECT_LT(relative_error(y, expected), 3e-7) << core::info(type).name;
  }
}

TEST(Linear, BitsDoNotDependOnRowsOrThreads) {
  core::Rng rng(7);
  for (const Ops* ops : runnable_ops())
    for (DType type : kTypes) {
      const int64_t inputs = core::info(type).block_values >= 128 ? 1024 : 992, outputs = 77;
      constexpr int64_t kRows = 70;
      const auto blocks = random_blocks(rng, type, outputs * inputs);
      const auto x = normals(rng, kRows * inputs), bias = normals(rng, outputs);
      const Packed packed = pack_weights(*ops, type, outputs, inputs, blocks);
      std::vector<float> alone;
      for (int64_t r = 0; r < kRows; ++r) {
        const auto y =
            run_linear(*ops, packed.weights, {x.data() + r * inputs, 1, bias.data(), nullptr, 1});
        alone.insert(alone.end(), y.begin(), y.end());
      }
      for (int64_t rows : {2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16, 31, 64, 70})
        for (int threads : {1, 2, 3}) {
          const auto y =
              run_linear(*ops, packed.weights, {x.data(), rows, bias.data(), nullptr, threads});
          ASSERT_TRUE(same_bits(y.data(), alone.data(), y.size()))
              << ops->name << ' ' << core::info(type).name << ", " << rows << " rows, " << threads
              << " threads";
        }
    }
}

// A share done in portions, in any order, is the share done at once.
TEST(Linear, BitsDoNotDependOnPortions) {
  core::Rng rng(11);
  for (const Ops* ops : runnable_ops())
    for (DType type : kTypes) {
      const int64_t inputs = core::info(type).block_values >= 128 ? 256 : 96;
      for (int64_t outputs : {16, 40, 77, 300})
        for (int64_t rows : {1, 2, 5, 20, 70}) {
          const auto blocks = random_blocks(rng, type, outputs * inputs);
          const auto x = normals(rng, rows * inputs), bias = normals(rng, outputs);
          const Packed packed = pack_weights(*ops, type, outputs, inputs, blocks);
          const auto whole =
              run_linear(*ops, packed.weights, {x.data(), rows, bias.data(), nullptr, 1});
          for (int portions : {2, 3, 8}) {
            const auto parted = run_linear(*ops, packed.weights,
                                           {x.data(), rows, bias.data(), nullptr, 2, portions});
            ASSERT_TRUE(same_bits(parted.data(), whole.data(), parted.size()))
                << ops->name << ' ' << core::info(type).name << ", " << rows << " × " << outputs
                << " in " << portions;
          }
        }
    }
}

TEST(Linear, ManyRowsCrossTheRowBlock) {
  core::Rng rng(8);
  for (const Ops* ops : runnable_ops()) {
    const int64_t inputs = 64, outputs = 20, rows = 517;
    const auto blocks = random_blocks(rng, DType::kQ4_1, outputs * inputs);
    const auto x = normals(rng, rows * inputs);
    const Packed packed = pack_weights(*ops, DType::kQ4_1, outputs, inputs, blocks);
    const auto y = run_linear(*ops, packed.weights, {x.data(), rows});
    for (int64_t r : {0, 239, 240, 241, 479, 480, 516}) {
      const auto one = run_linear(*ops, packed.weights, {x.data() + r * inputs, 1});
      EXPECT_TRUE(same_bits(&y[static_cast<size_t>(r * outputs)], one.data(), one.size())) << r;
    }
  }
}

TEST(Linear, Int8TablesAgreeBitForBit) {
  core::Rng rng(17);
  for (DType type : kTypes) {
    std::vector<const Ops*> tables;
    for (const Ops* ops : runnable_ops())
      if (ops->activation_form(type) == ActivationForm::kInt8) tables.push_back(ops);
    if (tables.empty()) continue;
    const int64_t inputs = 1280, outputs = 52;
    const auto blocks = random_blocks(rng, type, outputs * inputs);
    for (int64_t rows : {1, 3, 13, 37}) {
      const auto x = normals(rng, rows * inputs);
      std::vector<float> first;
      for (const Ops* ops : tables) {
        const Packed packed = pack_weights(*ops, type, outputs, inputs, blocks);
        const auto y = run_linear(*ops, packed.weights, {x.data(), rows});
        if (first.empty()) first = y;
        EXPECT_TRUE(same_bits(y.data(), first.data(), y.size()))
            << ops->name << ' ' << core::info(type).name << ", " << rows << " rows";
      }
    }
  }
}

TEST(Linear, ExtremeCodesAndScales) {
  // Codes at the ends of their ranges and activations of one sign meet every saturation.
  for (const Ops* ops : runnable_ops())
    for (DType type : {DType::kQ4_0, DType::kQ5_1, DType::kQ8_0, DType::kQ5_K}) {
      const int64_t inputs = 512, outputs = 16;
      const ActivationForm form = ops->activation_form(type);
      const bool has_planes =
          form == ActivationForm::kPlanes || form == ActivationForm::kWidePlanes;
      for (int fill : {0x00, 0xff, 0x80, 0x7f}) {
        core::Rng rng(3);
        auto blocks = random_blocks(rng, type, outputs * inputs);
        const auto bytes = static_cast<size_t>(core::info(type).block_bytes);
        const size_t head = type == DType::kQ5_1 || type == DType::kQ5_K ? 4 : 2;
        for (size_t i = 0; i < blocks.size(); ++i)
          if (i % bytes >= head) blocks[i] = static_cast<std::byte>(fill);
        for (float value : {1.0f, -1.0f}) {
          const std::vector<float> x(static_cast<size_t>(inputs), value);
          const Packed packed = pack_weights(*ops, type, outputs, inputs, blocks);
          const Packed reference = pack_weights(reference_ops(), type, outputs, inputs, blocks);
          EXPECT_LT(relative_error(run_linear(*ops, packed.weights, {x.data(), 1}),
                                   run_linear(reference_ops(), reference.weights, {x.data(), 1})),
                    has_planes ? 0.004 : 1e-5)
              << ops->name << ' ' << core::info(type).name << " fill " << fill;
        }
      }
    }
}

TEST(Linear, ResidualMayBeTheResult) {
  core::Rng rng(21);
  for (const Ops* ops : runnable_ops())
    for (int64_t rows : {1, 9}) {
      const int64_t inputs = 96, outputs = 50;
      const auto blocks = random_blocks(rng, DType::kQ4_0, outputs * inputs);
      const auto x = normals(rng, rows * inputs), residual = normals(rng, rows * outputs);
      const Packed packed = pack_weights(*ops, DType::kQ4_0, outputs, inputs, blocks);
      const auto expected =
          run_linear(*ops, packed.weights, {x.data(), rows, nullptr, residual.data()});
      const ActivationForm form = ops->activation_form(DType::kQ4_0);
      core::Buffer quantized = buffer_of(ops->activation_bytes(form, rows, inputs));
      run_all(ops->quantize_activations,
              QuantizeArgs{form, x.data(), rows, inputs, quantized.data()});
      std::vector<float> y = residual;
      run_all(ops->linear, LinearArgs{.weights = packed.weights,
                                      .x = x.data(),
                                      .x_packed = quantized.data(),
                                      .rows = rows,
                                      .residual = y.data(),
                                      .y = y.data()});
      EXPECT_EQ(y, expected) << ops->name;
    }
}

// A table that keeps FP8 codes has the value of every one of them, the smallest too: what an input
// of a single 1 gives.
TEST(Linear, EveryFp8CodeIsExact) {
  constexpr int64_t kInputs = 128, kOutputs = 2;
  constexpr size_t kBlockBytes = 132;
  std::vector<std::byte> blocks(kOutputs * kBlockBytes);
  for (size_t n = 0; n < kOutputs; ++n) {
    const float scale = n == 0 ? 0.37f : -1.1e-5f;
    std::memcpy(&blocks[n * kBlockBytes], &scale, sizeof scale);
    for (size_t k = 0; k < kInputs - 1; ++k)  // the last is not a number
      blocks[n * kBlockBytes + sizeof scale + k] = static_cast<std::byte>(n * kInputs + k);
  }
  std::vector<float> weights(kOutputs * kInputs), identity(kInputs * kInputs);
  decode(DType::kF8_B128, blocks.data(), kOutputs * kInputs, weights.data());
  for (size_t k = 0; k < kInputs; ++k) identity[k * kInputs + k] = 1;
  for (const Ops* ops : runnable_ops()) {
    if (ops->activation_form(DType::kF8_B128) == ActivationForm::kInt8) continue;
    const Packed packed = pack_weights(*ops, DType::kF8_B128, kOutputs, kInputs, blocks);
    const auto y = run_linear(*ops, packed.weights, {identity.data(), kInputs});
    for (size_t k = 0; k < kInputs; ++k)
      for (size_t n = 0; n < kOutputs; ++n)
        EXPECT_EQ(y[k * kOutputs + n], weights[n * kInputs + k])
            << ops->name << ", code " << n * kInputs + k;
  }
}

TEST(Linear, PackedBytesAreTheFilesTimesTheFormatsRatio) {
  const std::map<DType, double> ratios = {
      {DType::kF32, 1.0},      {DType::kF16, 1.0},     {DType::kBF16, 1.0},
      {DType::kQ4_0, 1.0},     {DType::kQ4_1, 1.0},    {DType::kQ5_0, 1.0},
      {DType::kQ5_1, 1.0},     {DType::kQ8_0, 1.0},    {DType::kQ2_K, 3.24},
      {DType::kQ3_K, 2.47},    {DType::kQ4_K, 1.0},    {DType::kQ5_K, 1.0},
      {DType::kQ6_K, 1.01},    {DType::kIQ4_NL, 1.89}, {DType::kIQ4_XS, 2.0},
      {DType::kF8_B128, 1.03}, {DType::kMXFP4, 1.06},  {DType::kI4_B32, 0.9},
      {DType::kI4_Z32, 0.95},  {DType::kI8_B32, 0.944}};
  for (const Ops* ops : runnable_ops())
    for (DType type : kTypes) {
      const double file = static_cast<double>(1536 * core::bytes_of(type, 1536));
      // Whole scales take 8 + 8 or 16 bits; I8_B32 has one scale for a row, FP8 keeps
      // its codes.
      const std::map<DType, double> own_ratios = {{DType::kQ4_K, 1.11},
                                                  {DType::kQ5_K, 1.09},
                                                  {DType::kQ6_K, 1.067},
                                                  {DType::kI8_B32, 0.89},
                                                  {DType::kF8_B128, 1.0}};
      const bool has_own_ratio = ops->name == "amx" && own_ratios.count(type) != 0;
      const double ratio = ops->name == "ref" ? 1.0
                           : has_own_ratio    ? own_ratios.at(type)
                                              : ratios.at(type);
      EXPECT_NEAR(static_cast<double>(ops->packed_bytes(type, 1536, 1536)) / file, ratio, 0.03)
          << ops->name << ' ' << core::info(type).name;
    }
}

}  // namespace
}  // namespace sluice::kernels
