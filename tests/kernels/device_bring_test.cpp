// Matrices that a device takes from the processor's memory, as the reference device unpacks them.
#include "kernels/device_bring.h"

#include <gtest/gtest.h>

#include "kernels/device_weights.h"
#include "kernels/ref/ref_device.h"
#include "kernels/ref/ref_device_ops.h"
#include "tests/kernels/support.h"

namespace sluice::kernels {
namespace {

using core::DType;

std::vector<float> decoded(const PackedWeights& weights) {
  std::vector<float> values(static_cast<size_t>(weights.outputs * weights.inputs));
  for (int64_t row = 0; row < weights.outputs; ++row)
    ref::decode_packed_row(weights, row, values.data() + row * weights.inputs);
  return values;
}

// Against the same matrix packed for a device from the file's blocks. Scales of the processor's
// layout are whole multiples of a unit of the output.
TEST(DeviceBring, GivesWhatTheFileWouldHave) {
  core::Rng rng(7);
  int layouts = 0;
  for (const Ops* ops : runnable_ops())
    for (const DType type : {DType::kQ4_0, DType::kQ4_1, DType::kQ4_K, DType::kQ8_0,
                             DType::kF8_B128, DType::kI4_B32, DType::kI4_Z32}) {
      const PackedLayout layout = packed_layout(*ops, type);
      if (layout == PackedLayout::kUnknown) continue;
      ++layouts;
      constexpr int64_t kOutputs = 48, kInputs = 768;
      const std::vector<std::byte> blocks = random_blocks(rng, type, kOutputs * kInputs);
      core::Buffer packed = buffer_of(ops->packed_bytes(type, kOutputs, kInputs));
      run_all(ops->pack, PackArgs{.type = type,
                                  .outputs = kOutputs,
                                  .inputs = kInputs,
                                  .weights = blocks.data(),
                                  .packed = packed.data()});
      core::Buffer expected = buffer_of(device_weight_bytes(type, kOutputs, kInputs));
      run_all(pack_for_device, DevicePackArgs{.type = type,
                                              .outputs = kOutputs,
                                              .inputs = kInputs,
                                              .weights = blocks.data(),
                                              .packed = expected.data()});
      ASSERT_EQ(brought_type(layout), device_weight_type(type));
      core::Buffer brought = buffer_of(expected.bytes());
      const BroughtMatrix matrix{.layout = layout,
                                 .outputs = kOutputs,
                                 .inputs = kInputs,
                                 .from = packed.data(),
                                 .bytes = packed.bytes(),
                                 .to = brought.data()};
      make_reference_device()->bring({.matrices = std::span(&matrix, 1)});
      EXPECT_LT(
          relative_error(decoded({brought_type(layout), kOutputs, kInputs, brought.data()}),
                         decoded({device_weight_type(type), kOutputs, kInputs, expected.data()})),
          type == DType::kF8_B128 ? 1e-9 : 0.002)
          << ops->name << ' ' << core::info(type).name;
    }
  if (layouts == 0) GTEST_SKIP() << "no table of this machine has a layout that a device reads";
}

}  // namespace
}  // namespace sluice::kernels
