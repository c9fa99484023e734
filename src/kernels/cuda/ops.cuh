// The launches of this folder's kernels, which cuda_device.cpp joins into a Device. Arguments are
// those of kernels/device_args.h; what a kernel needs besides stands in its own struct.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/device_args.h"

namespace sluice::kernels::cuda {

// As in launch.cuh.
void check(cudaError_t error, const char* what);

// rows.cu
void embed(const EmbedArgs& args, cudaStream_t stream);
void turn(const DeviceTurnArgs& args, cudaStream_t stream);
struct ArgmaxArgs {
  const float* logits = nullptr;  // (rows, columns)
  int64_t rows = 0;               // at most kArgmaxRowsMax
  int64_t columns = 0;
  int32_t* ids = nullptr;  // (rows)
};
struct ArgmaxScratch {
  unsigned long long* best = nullptr;  // (kArgmaxRowsMax), zero
  uint32_t* counters = nullptr;        // (kArgmaxRowsMax), zero
};
inline constexpr int64_t kArgmaxRowsMax = 256;
void argmax(const ArgmaxArgs& args, const ArgmaxScratch& scratch, cudaStream_t stream);

struct NormArgs {
  const float* x = nullptr;       // (rows, columns)
  const float* weight = nullptr;  // (columns)
  float epsilon = 0;
  int64_t rows = 0;
  int64_t columns = 0;      // a multiple of 4
  uint16_t* out = nullptr;  // bf16 (rows, columns)
};
void norm_rows(const NormArgs& args, cudaStream_t stream);
// out = bf16(silu(gate) · up), all bf16, `count` values, a multiple of 8. out may be gate.
void silu_mul(const uint16_t* gate, const uint16_t* up, int64_t count, uint16_t* out,
              cudaStream_t stream);
// y[r] += bias
void add_bias(float* y, const float* bias, int64_t rows, int64_t columns, cudaStream_t stream);

// narrow_bf16.cu, narrow_blocks.cu: few rows; the weights pass through once for kNarrowRowsMax
// rows.
inline constexpr int64_t kNarrowRowsMax = 4;
void linear_narrow_bf16(const DeviceLinearArgs& args, cudaStream_t stream);
void linear_narrow_blocks(const DeviceLinearArgs& args, cudaStream_t stream);

// rows_by_blocks.cu: up to kRowsByBlocksMax rows by one matrix in blocks, or two of one type with
// kSiluMul. `x`: bf16 (rows, inputs), instead of the args' input; a bias is left to add_bias().
inline constexpr int kRowsByBlocksMax = 16;
void rows_by_blocks(const DeviceLinearArgs& args, const uint16_t* x, cudaStream_t stream);

// blocks.cu: a matrix of device_weights.h as bf16 (outputs, inputs)
void decode_to_bf16(const PackedWeights& weights, uint16_t* out, cudaStream_t stream);

// attention_decode.cu, attention_prompt.cu
struct AttentionScratch {
  float* parts = nullptr;        // kAttentionPartsMax parts of attention_part_bytes(head_dim)
  uint32_t* counters = nullptr;  // kAttentionPartsMax, zero
};
inline constexpr int64_t kAttentionPartsMax = 2304;
int64_t attention_scratch_bytes(int32_t head_dim);
void attend_singles(const DeviceAttentionArgs& args, const AttentionScratch& scratch,
                    cudaStream_t stream);
// turn() and attend_singles() as one kernel, where no row belongs to a prompt; q_out is not
// written.
void turn_and_attend_singles(const DeviceTurnArgs& turn, const DeviceAttentionArgs& args,
                             const AttentionScratch& scratch, cudaStream_t stream);
void attend_prompts(const DeviceAttentionArgs& args, cudaStream_t stream);

// roof.cu
double measure_read_gb_s(cudaStream_t stream);
void fill_random_bf16(uint16_t* out, int64_t count, cudaStream_t stream);

}  // namespace sluice::kernels::cuda
