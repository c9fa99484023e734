// Products by matrices in e4m3 on the card against the reference device, where f16 and bf16 have no
// room; ops_test.cpp has the rest.
#include <cmath>
#include <cstring>

#include "kernels/device_weights.h"
#include "tests/cuda/support.h"
#include "tests/kernels/support.h"

namespace sluice::kernels {
namespace {

using core::DType;

constexpr DeviceLimits kLimits{.rows_max = 128,
                               .inputs_max = 512,
                               .outputs_max = 64,
                               .matrix_values_max = 64 * 512,
                               .heads = 1,
                               .head_dim = 64,
                               .singles_max = 1};

// Scales that codes with them do not fit bf16 or f16 by themselves; a block of inputs next to zero
// and one of large ones.
TEST(CudaE4m3, LinearWithAnyScale) {
  NEEDS_CARD();
  Device& cuda = *card().device;
  ASSERT_TRUE(cuda.reserve(kLimits).ok());
  const auto reference = make_reference_device();
  constexpr int64_t kInputs = 512, kOutputs = 64;
  for (const float scale : {0x1p-60f, 0x1p-20f, 3.0f, 0x1p12f, 0x1p40f})
    for (const int64_t rows : {1, 3, 8, 20, 100}) {
      const auto run = [&](Device& device) {
        core::Rng rng(11);
        auto blocks = random_blocks(rng, DType::kF8_B128, kOutputs * kInputs);
        for (size_t at = 0; at < blocks.size(); at += 132) std::memcpy(&blocks[at], &scale, 4);
        std::vector<std::byte> packed(
            static_cast<size_t>(device_weight_bytes(DType::kF8_B128, kOutputs, kInputs)));
        pack_for_device({DType::kF8_B128, kOutputs, kInputs, blocks.data(), packed.data()}, 0, 1);
        auto x = normals(rng, rows * kInputs);
        for (int64_t i = 0; i < 32; ++i) x[static_cast<size_t>(i)] *= i < 16 ? 1e-38f : 1e8f;
        const OnDevice<std::byte> weights(device, packed);
        const OnDevice<uint16_t> x_on(device, bf16_of(x));
        const OnDevice<float> y(device,
                                std::vector<float>(static_cast<size_t>(rows * kOutputs), NAN));
        device.linear(
            {.x = x_on.data(),
             .rows = rows,
             .products = {{{{DType::kF8_B128, kOutputs, kInputs, weights.data()}, y.data()}}}});
        device.wait();
        auto values = y.values();
        for (float& value : values) value /= scale;
        return values;
      };
      EXPECT_LT(relative_error(run(cuda), run(*reference)), 0.004)
          << rows << " rows, scale " << scale;
    }
}

}  // namespace
}  // namespace sluice::kernels
