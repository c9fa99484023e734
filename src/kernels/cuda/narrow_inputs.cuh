// What products of few rows (narrow.cuh) read besides weights: arguments, and a row of the input,
// through the norm where that is asked for, eight values a thread.
#pragma once

#include "kernels/cuda/narrow_stream.cuh"
#include "kernels/cuda/ops.cuh"

namespace sluice::kernels::cuda {

inline constexpr int64_t kPaddedInputs = kNarrowThreads * 8;  // what a block takes at once
inline __host__ __device__ int64_t padded_inputs(int64_t inputs) {
  return (inputs + kPaddedInputs - 1) / kPaddedInputs * kPaddedInputs;
}
// Whether the second half of a row may be read in whole passes of `pass_inputs` without leaving the
// padded row.
inline bool halves_fit(int64_t inputs, int64_t pass_inputs) {
  const int64_t half = inputs / 2;
  return half + (half + pass_inputs - 1) / pass_inputs * pass_inputs <= padded_inputs(inputs);
}

struct NarrowMatrix {
  const std::byte* data = nullptr;
  const std::byte* scales = nullptr;  // where the format has them apart
  int64_t outputs = 0;
  float* y = nullptr;
};
struct NarrowArgs {
  NarrowMatrix matrices[kDeviceProductsMax];
  int32_t count = 1;
  int64_t inputs = 0;
  int64_t rows = 0;         // at most kRows
  int64_t outputs_all = 0;  // of all matrices, or of one with kSiluMul
  int32_t halves = 0;       // 1: a warp has half of an output
  DeviceResult result = DeviceResult::kStore;
  const float* hidden = nullptr;
  const float* norm = nullptr;
  float epsilon = 0;
  const uint16_t* x = nullptr;
  const float* bias = nullptr;
  uint16_t* activated = nullptr;
};

// Eight inputs of a row from `at` on; behind the row's end zeros.
struct NarrowInputs {
  int64_t at = 0;
  float values[8];
};

// Calls take(row, inputs) for all of a bf16 row; a thread's loads are on their way together.
template <typename Take>
__device__ __forceinline__ void take_row(const NarrowArgs& args, int row, const Take& take) {
  constexpr int kLoads = 4;
  const uint16_t* x = args.x + row * args.inputs;
  for (int64_t first = 0; first < args.inputs; first += kLoads * kNarrowThreads * 8) {
    uint4 eights[kLoads];
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int64_t at = first + (i * kNarrowThreads + threadIdx.x) * 8;
      eights[i] = at < args.inputs ? *reinterpret_cast<const uint4*>(x + at) : uint4{0, 0, 0, 0};
    }
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int64_t of_block = first + i * kNarrowThreads * 8;
      if (of_block >= args.inputs) break;
      NarrowInputs inputs{of_block + threadIdx.x * 8, {}};
      const uint32_t words[4] = {eights[i].x, eights[i].y, eights[i].z, eights[i].w};
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const float2 two = floats_of_bf16(words[w]);
        inputs.values[2 * w] = two.x;
        inputs.values[2 * w + 1] = two.y;
      }
      take(row, inputs);
    }
  }
}

// The same through the norm: a row of up to kBatch inputs is read once.
template <typename Take>
__device__ __forceinline__ void take_normed_row(const NarrowArgs& args, int row, float* scratch,
                                                const Take& take) {
  constexpr int kLoads = 2;
  constexpr int64_t kBatch = kLoads * kNarrowThreads * 8;
  const float* x = args.hidden + row * args.inputs;
  float4 values[kLoads][2], weights[kLoads][2];
  float squares = 0;
  const auto load = [&](int64_t first) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int64_t at = first + (i * kNarrowThreads + threadIdx.x) * 8;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const bool has = at < args.inputs;
        const float4 none{0, 0, 0, 0};
        values[i][half] = has ? reinterpret_cast<const float4*>(x + at)[half] : none;
        weights[i][half] = has ? reinterpret_cast<const float4*>(args.norm + at)[half] : none;
      }
    }
  };
  const auto add_squares = [&] {
#pragma unroll
    for (int i = 0; i < kLoads; ++i)
#pragma unroll
      for (const float4& v : values[i]) squares += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  };
  for (int64_t first = kBatch; first < args.inputs; first += kBatch) {
    load(first);
    add_squares();
  }
  load(0);
  add_squares();
  const float mean = block_sum(squares, scratch) / static_cast<float>(args.inputs);
  const float factor = rsqrtf(mean + args.epsilon);
  for (int64_t first = 0; first < args.inputs; first += kBatch) {
    if (first > 0) load(first);
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int64_t of_block = first + i * kNarrowThreads * 8;
      if (of_block >= args.inputs) break;
      NarrowInputs inputs{of_block + threadIdx.x * 8, {}};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float4 &v = values[i][half], &w = weights[i][half];
        inputs.values[4 * half] = v.x * factor * w.x;
        inputs.values[4 * half + 1] = v.y * factor * w.y;
        inputs.values[4 * half + 2] = v.z * factor * w.z;
        inputs.values[4 * half + 3] = v.w * factor * w.w;
      }
      take(row, inputs);
    }
  }
}

}  // namespace sluice::kernels::cuda
