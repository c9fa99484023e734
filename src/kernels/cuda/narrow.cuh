// Products of a few rows (at most kNarrowRowsMax) with a matrix: what a decode step is made of.
//
// Bound by reading the weights once: everything here serves to keep such reads in flight
// (narrow_stream.cuh). A block has a multiprocessor; a warp has an output at a time, of kSiluMul
// one of each matrix, or half of one where whole ones would leave many warps without work in the
// last round. Each block makes its own copy of the input, normed and rounded or quantised, in
// shared memory: reading some KiB from the second cache costs less than another kernel.
//
// A format is a struct `Weights` with
//   using Chunk, kChunkInputs     what a lane reads of an output at once
//   kUnroll                       how many of these
//   kCarveout                     of LaunchShape
//   Weights(matrix, inputs, output, chunk).load(on) → Chunk number chunk + on
//   Input<kRows>                  the input in shared memory, padded with zeros to a multiple of
//                                 kPaddedInputs: shared_bytes(), take() of eight values by every
//                                 thread of the block, and
//   Input<kRows>::Part(input, chunk).dot(on, Chunk, sums)
#pragma once

#include "kernels/cuda/narrow_inputs.cuh"
#include "kernels/cuda/narrow_stream.cuh"

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

// What a warp has in narrow_stream.cuh: a unit is an output, or with args.halves half of one, the
// first of the even warp and the second of the odd one beside it.
template <typename Weights, int kRows, int kMatrices>
struct NarrowWork {
  using Input = typename Weights::template Input<kRows>;
  using Part = typename Input::Part;

  const NarrowArgs& args;
  Input input;
  int chunks;  // of a unit
  int64_t units;
  int64_t step;
  PairSums<kMatrices * kRows> pairs;

  __device__ NarrowWork(const NarrowArgs& of, uint4* shared)
      : args(of),
        input(shared, of.inputs),
        chunks(static_cast<int>(of.inputs / Weights::kChunkInputs) >> of.halves),
        units(of.outputs_all << of.halves),
        step(int64_t{gridDim.x} * kNarrowWarps) {}

  __device__ __forceinline__ int first_of(int64_t unit, int chunk) const {
    return args.halves != 0 && unit % 2 != 0 ? chunk + chunks : chunk;
  }
  __device__ __forceinline__ Weights weights(int m, int64_t unit, int chunk) const {
    const int64_t output = unit >> args.halves;
    const NarrowPlace place =
        kMatrices > 1 ? NarrowPlace{&args.matrices[m], output} : place_of(args, output);
    return Weights(*place.matrix, args.inputs, place.output, first_of(unit, chunk));
  }
  __device__ __forceinline__ Part part(int64_t unit, int chunk) const {
    return Part(input, first_of(unit, chunk));
  }

  __device__ __forceinline__ void finish(int64_t unit, float (&sums)[kMatrices][kRows]) {
    if (args.halves != 0) pairs.join(sums);
    if (threadIdx.x % 32 != 0 || (args.halves != 0 && unit % 2 != 0)) return;
    if constexpr (kMatrices > 1)
      store_activated<kRows>(args, unit >> args.halves, sums[0], sums[1]);
    else
      store_sums<kRows>(args, unit >> args.halves, sums[0]);
  }
};

// kMatrices: 1, or 2 with kSiluMul.
template <typename Weights, int kRows, int kMatrices, int kUnroll>
__global__ void __launch_bounds__(kNarrowThreads, 1)
    narrow_kernel(const __grid_constant__ NarrowArgs args) {
  static_assert(kPaddedInputs % (kUnroll * 32 * Weights::kChunkInputs) == 0);
  extern __shared__ uint4 shared[];
  __shared__ float scratch[32];
  let_next_start();
  NarrowWork<Weights, kRows, kMatrices> work(args, shared);
  NarrowStream<typename Weights::Chunk, kRows, kMatrices, kUnroll> stream(work);
  if (args.hidden != nullptr && threadIdx.x * 32 < args.inputs)
    prefetch_line(args.norm + threadIdx.x * 32);
  wait_for_previous();

  const auto take = [&work](int row, const NarrowInputs& inputs) { work.input.take(row, inputs); };
  for (int r = 0; r < args.rows; ++r) {
    if (args.hidden != nullptr)
      take_normed_row(args, r, scratch, take);
    else
      take_row(args, r, take);
  }
  __syncthreads();
  stream.run(work);
}

// Rounds of the warps, in units of a whole output, if `outputs` are dealt as `parts` each.
inline double narrow_rounds(int64_t outputs, int64_t parts, int64_t warps) {
  return static_cast<double>(div_ceil(outputs * parts, warps)) / static_cast<double>(parts);
}

// As many blocks as run at once: each makes its copy of the input only once.
template <typename Weights, int kRows, int kMatrices, int kUnroll>
void launch_narrow(NarrowArgs args, cudaStream_t stream) {
  const auto kernel = narrow_kernel<Weights, kRows, kMatrices, kUnroll>;
  const auto bytes = static_cast<size_t>(Weights::template Input<kRows>::shared_bytes(args.inputs));
  allow_shared(kernel, bytes);
  const int64_t at_once =
      blocks_at_once(reinterpret_cast<const void*>(kernel), kNarrowThreads, bytes);
  constexpr double kGainMin = 0.93;  // of halves, which meet for every output
  const int64_t warps = at_once * kNarrowWarps, chunks = args.inputs / Weights::kChunkInputs;
  if (chunks % 2 == 0 && chunks >= 2 * kUnroll * 32 &&
      halves_fit(args.inputs, kUnroll * 32 * Weights::kChunkInputs) &&
      narrow_rounds(args.outputs_all, 2, warps) <
          kGainMin * narrow_rounds(args.outputs_all, 1, warps))
    args.halves = 1;
  const int64_t blocks = div_ceil(args.outputs_all << args.halves, kNarrowWarps);
  launch("linear_narrow", kernel,
         {dim3(static_cast<unsigned>(blocks < at_once ? blocks : at_once)), kNarrowThreads, bytes,
          stream, Weights::kCarveout},
         args);
}

template <typename Weights, int kRows>
void launch_narrow_rows(const NarrowArgs& args, cudaStream_t stream) {
  if (args.result == DeviceResult::kSiluMul)
    launch_narrow<Weights, kRows, 2, Weights::kUnroll / 2>(args, stream);
  else
    launch_narrow<Weights, kRows, 1, Weights::kUnroll>(args, stream);
}

// The rows from `first` on.
NarrowArgs narrow_rows(NarrowArgs args, int64_t first, int64_t rows);

// One by one where they have no room together.
template <typename Weights>
void launch_narrow_format(const NarrowArgs& args, cudaStream_t stream) {
  const int64_t bytes = args.rows == 2 ? Weights::template Input<2>::shared_bytes(args.inputs)
                                       : Weights::template Input<4>::shared_bytes(args.inputs);
  if (args.rows > 1 && bytes > card().shared_bytes_max) {
    for (int64_t r = 0; r < args.rows; ++r)
      launch_narrow_rows<Weights, 1>(narrow_rows(args, r, 1), stream);
    return;
  }
  if (args.rows == 1)
    launch_narrow_rows<Weights, 1>(args, stream);
  else if (args.rows == 2)
    launch_narrow_rows<Weights, 2>(args, stream);
  else
    launch_narrow_rows<Weights, 4>(args, stream);
}

NarrowArgs narrow_args(const DeviceLinearArgs& args);

}  // namespace sluice::kernels::cuda
