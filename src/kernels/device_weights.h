// How weights lie on a device: what Device::linear() reads. Made on the host.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace sluice::kernels {

// The type that a matrix of the file's `type` is kept in:
//   BF16   (outputs, inputs)
//   Q8_0   codes (outputs, inputs) int8, behind them scales (outputs, inputs / 32) f16
//   Q4_0   codes (outputs, inputs / 2), a block's 16 bytes as in the file; scales as Q8_0
//   Q4_1   codes as Q4_0; behind them (outputs, inputs / 32, 2) f16: scale, minimum
//   F8_B128  codes (outputs, inputs) e4m3; behind them scales (outputs, inputs / 128) f32
//   Q6_K   low four bits as Q4_0; behind them, 8 bytes a block, the upper two: byte j of each half
//          has those of its codes j, j + 4, j + 8, j + 12 from the lowest bit on; behind these
//          (outputs, inputs / 32, 2) f16: the halves' scales
// Q4_K becomes Q4_1, each run of 32 a block with its scale and minimum in f16: 5 bits a weight
// instead of 4.5, and no scales to unpack in the inner loop. I4_B32, I4_Z32 and I8_B32 become Q4_0,
// Q4_1 and Q8_0, their scales rounded to f16: 2^-12 of a weight, half a step of 2^-24 where the
// scale is below 2^-14. All others become BF16, rounded to nearest; so does Q6_K in a stack, which
// is read by other kernels.
enum class DeviceUse : uint8_t {
  kProduct,  // of Device::linear()
  kStack,    // matrices of experts, or of the heads of latent attention
};
core::DType device_weight_type(core::DType type, DeviceUse use = DeviceUse::kProduct);

// Bytes of a matrix in its device_weight_type(); parts begin on a multiple of 16.
int64_t device_weight_bytes(core::DType type, int64_t outputs, int64_t inputs,
                            DeviceUse use = DeviceUse::kProduct);

// Whether a matrix in the file's blocks is already what the device reads.
bool device_reads_file_blocks(core::DType type);

struct DevicePackArgs {
  core::DType type = core::DType::kF32;  // of the file
  int64_t outputs = 0;
  int64_t inputs = 0;                  // a multiple of 8
  const std::byte* weights = nullptr;  // (outputs, inputs) in the file's blocks
  std::byte* packed = nullptr;         // device_weight_bytes(type, outputs, inputs)
  DeviceUse use = DeviceUse::kProduct;
};
// The share of one thread, as the ops of ops.h.
void pack_for_device(const DevicePackArgs& args, int thread, int threads);

// The first of the thread's rows with a scale that f16 has no number for, once packed; none: -1.
// Types whose scales are f32, or products, may have such.
int64_t find_row_out_of_f16(const DevicePackArgs& args, int thread, int threads);

// Where the scales of Q8_0, Q4_0, Q4_1, Q6_K and F8_B128 begin.
int64_t device_scales_at(core::DType device_type, int64_t outputs, int64_t inputs);

// The type of the device's embedding table: the file's where embed() reads it, otherwise F32.
core::DType device_table_type(core::DType type);

}  // namespace sluice::kernels
