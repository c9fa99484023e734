// Products of a few rows (at most kNarrowRowsMax) with a matrix: what a decode step is made of.
//
// Bound by reading the weights once: everything here serves to keep such reads in flight. A block
// has a multiprocessor. A warp has one output at a time (of kSiluMul one of each matrix) and all
// its lanes read consecutive 16 bytes; the first of these are on their way before the op before has
// ended (launch.cuh). Each block makes its own copy of the input, normed and rounded or quantised,
// in shared memory: reading some KiB from the second cache costs less than another kernel.
//
// A format is a struct `Weights` with
//   using Chunk, kChunkInputs     what a lane reads of an output at once
//   kUnroll                       how many of these
//   Weights(matrix, inputs, output, chunk).load(on) → Chunk number chunk + on
//   Input<kRows>                  the input in shared memory, padded with zeros to a multiple of
//                                 kPaddedInputs: shared_bytes(), take() of eight values by every
//                                 thread of the block, and
//   Input<kRows>::Part(input, chunk).dot(on, Chunk, sums)
#pragma once

#include "kernels/cuda/narrow_inputs.cuh"

namespace sluice::kernels::cuda {

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
    const float value = sums[r] + (args.bias != nullptr ? args.bias[place.output] : 0.0f);
    if (args.result == DeviceResult::kAdd)
      atomicAdd(y, value);  // nobody else adds here: it saves the way there and back
    else
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

// Where a warp is: kUnroll chunks of an output from chunk `first` on.
struct NarrowCursor {
  int64_t output = 0;
  int first = 0;
};

// kMatrices: 1, or 2 with kSiluMul. Two sets of kUnroll chunks of each take turns: while one is
// used the other is on its way, and both are before the op before has ended.
template <typename Weights, int kRows, int kMatrices, int kUnroll>
__global__ void __launch_bounds__(kNarrowThreads, 1)
    narrow_kernel(const __grid_constant__ NarrowArgs args) {
  using Chunk = typename Weights::Chunk;
  static_assert(kPaddedInputs % (kUnroll * 32 * Weights::kChunkInputs) == 0);
  extern __shared__ uint4 shared[];
  __shared__ float scratch[32];
  let_next_start();
  const int lane = threadIdx.x % 32;
  const int chunks = static_cast<int>(args.inputs / Weights::kChunkInputs);
  const int64_t step = int64_t{gridDim.x} * kNarrowWarps;

  const auto after = [&](const NarrowCursor& at) {
    return at.first + kUnroll * 32 < chunks ? NarrowCursor{at.output, at.first + kUnroll * 32}
                                            : NarrowCursor{at.output + step, 0};
  };
  const auto load = [&](const NarrowCursor& at, Chunk(&into)[kMatrices][kUnroll]) {
    if (at.output >= args.outputs_all) return;
    const int first = at.first + lane;
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
      const NarrowPlace place =
          kMatrices > 1 ? NarrowPlace{&args.matrices[m], at.output} : place_of(args, at.output);
      const Weights weights(*place.matrix, args.inputs, place.output, first);
      if (at.first + kUnroll * 32 <= chunks) {
#pragma unroll
        for (int u = 0; u < kUnroll; ++u) into[m][u] = weights.load(u * 32);
      } else {
#pragma unroll
        for (int u = 0; u < kUnroll; ++u)
          into[m][u] = first + u * 32 < chunks ? weights.load(u * 32) : Chunk{};
      }
    }
  };
  NarrowCursor at{int64_t{blockIdx.x} * kNarrowWarps + threadIdx.x / 32, 0};
  NarrowCursor next = after(at);
  Chunk even[kMatrices][kUnroll] = {}, odd[kMatrices][kUnroll] = {};
  load(at, even);
  load(next, odd);
  if (args.hidden != nullptr && threadIdx.x * 32 < args.inputs)
    prefetch_line(args.norm + threadIdx.x * 32);
  wait_for_previous();

  typename Weights::template Input<kRows> input(shared, args.inputs);
  const auto take = [&input](int row, const NarrowInputs& inputs) { input.take(row, inputs); };
  for (int r = 0; r < args.rows; ++r) {
    if (args.hidden != nullptr)
      take_normed_row(args, r, scratch, take);
    else
      take_row(args, r, take);
  }
  __syncthreads();

  float sums[kMatrices][kRows] = {};
  const auto finish = [&](int64_t output) {
#pragma unroll
    for (int m = 0; m < kMatrices; ++m)
#pragma unroll
      for (int r = 0; r < kRows; ++r) sums[m][r] = warp_sum(sums[m][r]);
    if (lane == 0) {
      if constexpr (kMatrices > 1)
        store_activated<kRows>(args, output, sums[0], sums[1]);
      else
        store_sums<kRows>(args, output, sums[0]);
    }
#pragma unroll
    for (int m = 0; m < kMatrices; ++m)
#pragma unroll
      for (int r = 0; r < kRows; ++r) sums[m][r] = 0;
  };
  // Uses a set and starts to fill it again. False: all is done.
  const auto pass = [&](Chunk(&set)[kMatrices][kUnroll]) {
    const typename Weights::template Input<kRows>::Part part(input, at.first + lane);
#pragma unroll
    for (int m = 0; m < kMatrices; ++m)
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) part.dot(u * 32, set[m][u], sums[m]);
    const int64_t output = at.output;
    at = next;
    next = after(at);
    load(next, set);
    if (output != at.output) finish(output);
    return at.output < args.outputs_all;
  };
  if (at.output < args.outputs_all)
    while (pass(even) && pass(odd)) {
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
