// Products of a few rows (at most kNarrowRowsMax) with a matrix: what a decode step is made of.
//
// Bound by reading the weights once: everything here serves to keep such reads in flight. A warp
// has one output at a time (of kSiluMul one of each matrix) and all its lanes read consecutive 16
// bytes; the first of these are on their way before the op before has ended (launch.cuh). Each
// block makes its own copy of the input, normed and rounded or quantised, in shared memory: reading
// some KiB from the second cache costs less than another kernel.
//
// A format is a struct `Weights` with
//   using Chunk, kUnroll              what a lane reads of an output at once, and how many of these
//   kBlocks                           that a multiprocessor shall hold, which limits registers
//   chunks(inputs)                    of a whole output
//   load(matrix, inputs, output, chunk) → Chunk
//   Input<kRows>                      the input in shared memory: bytes(), store(), and
//   dot(chunk number, Chunk, Input, sums)
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ops.cuh"

namespace sluice::kernels::cuda {

inline constexpr int kNarrowThreads = 256;
inline constexpr int kNarrowWarps = kNarrowThreads / 32;

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
  DeviceResult result = DeviceResult::kStore;
  const float* hidden = nullptr;
  const float* norm = nullptr;
  float epsilon = 0;
  const uint16_t* x = nullptr;
  const float* bias = nullptr;
  uint16_t* activated = nullptr;
};

// Four inputs of a row, normed where that is asked for.
__device__ __forceinline__ float4 input_at(const NarrowArgs& args, int64_t row, int64_t i,
                                           float factor) {
  if (args.hidden != nullptr) {
    const float4 v = *reinterpret_cast<const float4*>(args.hidden + row * args.inputs + i);
    const float4 w = *reinterpret_cast<const float4*>(args.norm + i);
    return {v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z, v.w * factor * w.w};
  }
  const uint2 pairs = *reinterpret_cast<const uint2*>(args.x + row * args.inputs + i);
  const float2 a = floats_of_bf16(pairs.x), b = floats_of_bf16(pairs.y);
  return {a.x, a.y, b.x, b.y};
}

// 1 / root of the mean square of a row; 1 where there is no norm.
__device__ __forceinline__ float norm_factor(const NarrowArgs& args, int64_t row, float* scratch) {
  if (args.hidden == nullptr) return 1;
  float squares = 0;
  for (int64_t i = threadIdx.x * 4; i < args.inputs; i += kNarrowThreads * 4) {
    const float4 v = *reinterpret_cast<const float4*>(args.hidden + row * args.inputs + i);
    squares += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  }
  return rsqrtf(block_sum(squares, scratch) / static_cast<float>(args.inputs) + args.epsilon);
}

// Which matrix and row of it the output number `output` of all is.
struct NarrowPlace {
  const NarrowMatrix* matrix = nullptr;
  int64_t output = 0;
};
__device__ __forceinline__ NarrowPlace place_of(const NarrowArgs& args, int64_t output) {
  int m = 0;
  while (m + 1 < args.count && output >= args.matrices[m].outputs)
    output -= args.matrices[m++].outputs;
  return {&args.matrices[m], output};
}

// Sums of one output, in lane 0.
template <int kRows>
__device__ __forceinline__ void store_sums(const NarrowArgs& args, int64_t output,
                                           const float (&sums)[kRows]) {
  const NarrowPlace place = place_of(args, output);
  for (int r = 0; r < kRows && r < args.rows; ++r) {
    float* y = place.matrix->y + r * place.matrix->outputs + place.output;
    float value = sums[r] + (args.bias != nullptr ? args.bias[place.output] : 0.0f);
    if (args.result == DeviceResult::kAdd) value += *y;
    *y = value;
  }
}

template <int kRows>
__device__ __forceinline__ void store_activated(const NarrowArgs& args, int64_t output,
                                                const float (&gate)[kRows],
                                                const float (&up)[kRows]) {
  auto* out = reinterpret_cast<__nv_bfloat16*>(args.activated);
  for (int r = 0; r < kRows && r < args.rows; ++r)
    out[r * args.outputs_all + output] = __float2bfloat16(gate[r] / (1 + __expf(-gate[r])) * up[r]);
}

// What a lane has loaded, or is loading: kUnroll chunks of an output from chunk `first` on.
struct NarrowCursor {
  int64_t output = 0;
  int first = 0;
};

// kMatrices: 1, or 2 with kSiluMul. While kUnroll chunks of each are used, as many are on their
// way.
template <typename Weights, int kRows, int kMatrices, int kUnroll>
__global__ void __launch_bounds__(kNarrowThreads, Weights::kBlocks) narrow_kernel(NarrowArgs args) {
  using Chunk = typename Weights::Chunk;
  extern __shared__ uint4 shared[];
  __shared__ float scratch[32];
  const int lane = threadIdx.x % 32;
  const int chunks = Weights::chunks(args.inputs);
  const int64_t step = int64_t{gridDim.x} * kNarrowWarps;

  const auto load = [&](const NarrowCursor& at, Chunk(&into)[kMatrices][kUnroll]) {
    if (at.output >= args.outputs_all) return;
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
      const NarrowPlace place =
          kMatrices > 1 ? NarrowPlace{&args.matrices[m], at.output} : place_of(args, at.output);
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int chunk = at.first + u * 32 + lane;
        if (chunk < chunks)
          into[m][u] = Weights::load(*place.matrix, args.inputs, place.output, chunk);
      }
    }
  };
  NarrowCursor at{int64_t{blockIdx.x} * kNarrowWarps + threadIdx.x / 32, 0};
  Chunk loaded[kMatrices][kUnroll], coming[kMatrices][kUnroll];
  load(at, loaded);
  wait_for_previous();
  let_next_start();

  typename Weights::template Input<kRows> input(shared, args.inputs);
  for (int r = 0; r < kRows; ++r)
    if (r < args.rows) input.store(args, r, norm_factor(args, r, scratch));
  __syncthreads();

  float sums[kMatrices][kRows] = {};
  while (at.output < args.outputs_all) {
    NarrowCursor next{at.output, at.first + kUnroll * 32};
    if (next.first >= chunks) next = {at.output + step, 0};
    load(next, coming);
#pragma unroll
    for (int m = 0; m < kMatrices; ++m)
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int chunk = at.first + u * 32 + lane;
        if (chunk < chunks) input.dot(chunk, loaded[m][u], sums[m]);
        loaded[m][u] = coming[m][u];
      }
    if (next.output != at.output) {
#pragma unroll
      for (int m = 0; m < kMatrices; ++m)
#pragma unroll
        for (int r = 0; r < kRows; ++r) sums[m][r] = warp_sum(sums[m][r]);
      if (lane == 0) {
        if constexpr (kMatrices > 1)
          store_activated<kRows>(args, at.output, sums[0], sums[1]);
        else
          store_sums<kRows>(args, at.output, sums[0]);
      }
#pragma unroll
      for (int m = 0; m < kMatrices; ++m)
#pragma unroll
        for (int r = 0; r < kRows; ++r) sums[m][r] = 0;
    }
    at = next;
  }
}

// As many blocks as run at once: each makes its copy of the input only once.
template <typename Weights, int kRows, int kMatrices, int kUnroll>
void launch_narrow(const NarrowArgs& args, cudaStream_t stream) {
  const auto kernel = narrow_kernel<Weights, kRows, kMatrices, kUnroll>;
  const auto bytes = static_cast<size_t>(Weights::template Input<kRows>::shared_bytes(args.inputs));
  allow_shared(kernel, bytes);
  const int64_t blocks = div_ceil(args.outputs_all, kNarrowWarps);
  const int64_t at_once =
      blocks_at_once(reinterpret_cast<const void*>(kernel), kNarrowThreads, bytes);
  launch("linear_narrow", kernel,
         {dim3(static_cast<unsigned>(blocks < at_once ? blocks : at_once)), kNarrowThreads, bytes,
          stream},
         args);
}

template <typename Weights, int kRows>
void launch_narrow_rows(const NarrowArgs& args, cudaStream_t stream) {
  if (args.result == DeviceResult::kSiluMul)
    launch_narrow<Weights, kRows, 2, Weights::kUnroll / 2>(args, stream);
  else
    launch_narrow<Weights, kRows, 1, Weights::kUnroll>(args, stream);
}

template <typename Weights>
void launch_narrow_format(const NarrowArgs& args, cudaStream_t stream) {
  if (args.rows == 1)
    launch_narrow_rows<Weights, 1>(args, stream);
  else if (args.rows == 2)
    launch_narrow_rows<Weights, 2>(args, stream);
  else
    launch_narrow_rows<Weights, 4>(args, stream);
}

NarrowArgs narrow_args(const DeviceLinearArgs& args);

}  // namespace sluice::kernels::cuda
