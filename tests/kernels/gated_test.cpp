// gated(): bit for bit what linear() twice, silu_mul() and quantize_activations() make, of every
// table that has it.
#include <gtest/gtest.h>

#include "tests/kernels/support.h"

namespace sluice::kernels {
namespace {

using core::DType;

struct Shape {
  int64_t rows;
  int64_t outputs;
  int64_t inputs;
};

// silu(gate) · up by the ops that gated() stands for.
std::vector<float> in_steps(const Ops& ops, const GatedArgs& gated, const std::vector<float>& x) {
  std::vector<float> y = run_linear(ops, gated.gate, {x.data(), gated.rows});
  const std::vector<float> up = run_linear(ops, gated.up, {x.data(), gated.rows});
  run_all(ops.silu_mul, SiluMulArgs{y.data(), up.data(), gated.rows, gated.gate.outputs, y.data()});
  return y;
}

void expect_equal(const Ops& ops, DType type, const Shape& shape, int threads) {
  core::Rng rng(31);
  const auto weights = [&] {
    return pack_weights(ops, type, shape.outputs, shape.inputs,
                        random_blocks(rng, type, shape.outputs * shape.inputs));
  };
  const Packed gate = weights(), up = weights();
  const auto x = normals(rng, shape.rows * shape.inputs);
  const ActivationForm form = ops.activation_form(type);
  const core::Buffer x_packed = buffer_of(ops.activation_bytes(form, shape.rows, shape.inputs));
  run_all(ops.quantize_activations, QuantizeArgs{form, x.data(), shape.rows, shape.inputs,
                                                 const_cast<std::byte*>(x_packed.data())});
  const bool to_bf16 = form == ActivationForm::kBf16;
  const int64_t packed_bytes = ops.activation_bytes(ActivationForm::kBf16, shape.rows,  //
                                                    shape.outputs);
  core::Buffer packed = buffer_of(packed_bytes), expected_packed = buffer_of(packed_bytes);
  std::vector<float> y(static_cast<size_t>(shape.rows * shape.outputs), -7);
  const GatedArgs args{.gate = gate.weights,
                       .up = up.weights,
                       .x_packed = x_packed.data(),
                       .rows = shape.rows,
                       .y = to_bf16 ? nullptr : y.data(),
                       .packed = to_bf16 ? packed.data() : nullptr};
  ASSERT_TRUE(ops.can_gate(args));
  run_all(ops.gated, args, threads);
  const std::vector<float> expected = in_steps(ops, args, x);
  if (to_bf16) {
    run_all(ops.quantize_activations,
            QuantizeArgs{ActivationForm::kBf16, expected.data(), shape.rows, shape.outputs,
                         expected_packed.data()});
    EXPECT_EQ(std::memcmp(packed.data(), expected_packed.data(), static_cast<size_t>(packed_bytes)),
              0);
  } else {
    EXPECT_TRUE(same_bits(y.data(), expected.data(), y.size()));
  }
}

TEST(Gated, EqualsItsSteps) {
  for (const Ops* ops : runnable_ops()) {
    if (ops->gated == nullptr) continue;
    for (const DType type : {DType::kBF16, DType::kF16, DType::kQ4_0, DType::kQ4_1, DType::kQ4_K,
                             DType::kQ6_K, DType::kQ8_0})
      for (const Shape& shape : {Shape{33, 96, 256}, {70, 32, 1792}, {300, 416, 2304}})
        for (const int threads : {1, 3}) {
          SCOPED_TRACE(testing::Message()
                       << ops->name << ' ' << core::info(type).name << ' ' << shape.rows << "×"
                       << shape.outputs << "×" << shape.inputs << ", " << threads << " threads");
          expect_equal(*ops, type, shape, threads);
        }
  }
}

TEST(Gated, LeavesOtherShapesToTheSteps) {
  std::byte packed{};
  float y = 0;
  for (const Ops* ops : runnable_ops()) {
    const PackedWeights bf16{DType::kBF16, 64, 64}, planes{DType::kQ4_0, 64, 64};
    const auto takes = [&](const GatedArgs& args) { return ops->can_gate(args); };
    EXPECT_FALSE(takes({bf16, planes, nullptr, 512, &y, nullptr})) << "two types";
    EXPECT_FALSE(takes({planes, {DType::kQ4_0, 32, 64}, nullptr, 512, &y, nullptr})) << "shapes";
    EXPECT_FALSE(takes({planes, planes, nullptr, 32, &y, nullptr})) << "few rows";
    EXPECT_FALSE(takes({bf16, bf16, nullptr, 512, &y, nullptr})) << "bf16 to floats";
    EXPECT_FALSE(takes({planes, planes, nullptr, 512, nullptr, &packed})) << "planes to bf16";
    const PackedWeights odd{DType::kBF16, 48, 64};
    EXPECT_FALSE(takes({odd, odd, nullptr, 512, nullptr, &packed})) << "half a tile";
  }
}

}  // namespace
}  // namespace sluice::kernels
