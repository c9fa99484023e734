// Routed experts of a few rows whose weights are blocks: each choice multiplies its row with a pass
// over its expert's weights (narrow_stream.cuh), and no plan is made. Gate and up are one kernel
// with silu(gate) · up at its end. Down is another: a row's results, weighted, are one sum over its
// experts, as if their matrices stood side by side, so it is written once and in a fixed order.
// Bound by reading the chosen experts. Reference: kernels/ref/ref_device_experts.cpp.
#include "kernels/cuda/experts.cuh"
#include "kernels/cuda/narrow_f8.cuh"
#include "kernels/device_weights.h"

namespace sluice::kernels::cuda {
namespace {

constexpr int kChoicesMax = 64;  // of all rows

// Matrix i lies i · stride_bytes behind.
struct NarrowStack {
  NarrowMatrix first;
  int64_t stride_bytes = 0;
  __device__ __forceinline__ NarrowMatrix matrix(int32_t i) const {
    return {first.data + i * stride_bytes, first.scales + i * stride_bytes, first.outputs, nullptr};
  }
};

NarrowStack narrow_stack(const DeviceStack& stack) {
  const PackedWeights& w = stack.first;
  return {{w.data, w.data + device_scales_at(w.type, w.outputs, w.inputs), w.outputs, nullptr},
          stack.stride_bytes};
}

// x / divisor where both are below 2^16.
struct Divisor {
  uint32_t divisor = 1;
  uint32_t inverse = 0;
};
Divisor divisor_of(int64_t value) {
  return {static_cast<uint32_t>(value),
          static_cast<uint32_t>(((uint64_t{1} << 32) + static_cast<uint64_t>(value) - 1) /
                                static_cast<uint64_t>(value))};
}
__device__ __forceinline__ int divide(int x, const Divisor& by) {
  return by.divisor == 1 ? x : static_cast<int>(__umulhi(static_cast<uint32_t>(x), by.inverse));
}

struct NarrowExpertArgs {
  NarrowArgs input;  // x, inputs and rows of what is multiplied
  NarrowStack stacks[2];
  const int32_t* ids = nullptr;    // (rows, used)
  const float* weights = nullptr;  // (rows, used), of down
  int32_t used = 0;
  int64_t outputs = 0;
  Divisor chunks_of_one;          // of an expert's row of weights, of down
  uint16_t* activated = nullptr;  // bf16 (rows, used, outputs), of gate and up
  float* hidden = nullptr;        // (rows, outputs), of down
};

// Experts of all choices; for a choice of nobody the first one, without weight.
struct Choices {
  int32_t ids[kChoicesMax];
  float weights[kChoicesMax];  // of down
  __device__ void read(const NarrowExpertArgs& args) {
    const int count = static_cast<int>(args.input.rows) * args.used;
    if (threadIdx.x >= count) return;
    const int32_t id = args.ids[threadIdx.x];
    ids[threadIdx.x] = max(id, 0);
    weights[threadIdx.x] = id < 0 || args.weights == nullptr ? 0.0f : args.weights[threadIdx.x];
  }
};

template <typename Weights>
using RowInput = typename Weights::template Input<1>;

// Of rows one after the other in shared memory.
template <typename Weights>
struct RowInputs {
  uint4* shared;
  int64_t inputs;
  int vectors;
  __device__ RowInputs(uint4* at, int64_t of_row)
      : shared(at),
        inputs(of_row),
        vectors(static_cast<int>(RowInput<Weights>::row_vectors(of_row))) {}
  __device__ __forceinline__ RowInput<Weights> row(int r) const {
    return RowInput<Weights>(shared + r * vectors, inputs);
  }
};

// ---- Gate and up --------------------------------------------------------------------------------

// A unit is an output of a choice.
template <typename Weights>
struct InWork {
  const NarrowExpertArgs& args;
  const Choices& choices;
  RowInputs<Weights> inputs;
  int chunks;
  int64_t units;
  int64_t step;

  __device__ InWork(const NarrowExpertArgs& of, const Choices& chosen, uint4* shared)
      : args(of),
        choices(chosen),
        inputs(shared, of.input.inputs),
        chunks(static_cast<int>(of.input.inputs / Weights::kChunkInputs)),
        units(of.input.rows * of.used * of.outputs),
        step(int64_t{gridDim.x} * kNarrowWarps) {}

  __device__ __forceinline__ uint32_t choice_of(int64_t unit) const {
    return static_cast<uint32_t>(unit) / static_cast<uint32_t>(args.outputs);
  }
  __device__ __forceinline__ Weights weights(int m, int64_t unit, int chunk) const {
    const uint32_t choice = choice_of(unit);
    return Weights(args.stacks[m].matrix(choices.ids[choice]), args.input.inputs,
                   unit - choice * args.outputs, chunk);
  }
  __device__ __forceinline__ auto part(int64_t unit, int chunk) const {
    const auto row = choice_of(unit) / static_cast<uint32_t>(args.used);
    return typename RowInput<Weights>::Part(inputs.row(static_cast<int>(row)), chunk);
  }
  __device__ __forceinline__ void finish(int64_t unit, float (&sums)[2][1]) const {
    if (threadIdx.x % 32 != 0) return;
    const float gate = sums[0][0], value = gate / (1 + __expf(-gate)) * sums[1][0];
    reinterpret_cast<__nv_bfloat16*>(args.activated)[unit] = __float2bfloat16(value);
  }
};

template <typename Weights>
__global__ void __launch_bounds__(kNarrowThreads, 1)
    experts_in_kernel(const __grid_constant__ NarrowExpertArgs args) {
  extern __shared__ uint4 shared[];
  __shared__ Choices choices;
  let_next_start();
  wait_for_previous();
  choices.read(args);
  __syncthreads();
  InWork<Weights> work(args, choices, shared);
  NarrowStream<typename Weights::Chunk, 1, 2, Weights::kUnroll / 2> stream(work);
  for (int r = 0; r < args.input.rows; ++r) {
    RowInput<Weights> row = work.inputs.row(r);
    take_row(args.input, r, [&](int, const NarrowInputs& inputs) { row.take(0, inputs); });
  }
  __syncthreads();
  stream.run(work);
}

// ---- Down ---------------------------------------------------------------------------------------

// A row's experts side by side: chunk c is of expert c / chunks_of_one.
template <typename Weights>
struct SideBySide {
  const NarrowStack& stack;
  const int32_t* ids;  // of the row
  const Divisor& of_one;
  int64_t inputs;  // of an expert
  int64_t output;
  int chunk;
  __device__ __forceinline__ typename Weights::Chunk load(int on) const {
    const int expert = divide(chunk + on, of_one);
    const int within = chunk + on - expert * static_cast<int>(of_one.divisor);
    return Weights(stack.matrix(ids[expert]), inputs, output, within).load(0);
  }
};

// A unit is a half of an output of a row: the even warp has the first, the odd one the second.
template <typename Weights>
struct DownWork {
  const NarrowExpertArgs& args;
  const Choices& choices;
  RowInputs<Weights> inputs;
  int chunks;  // of a half
  int64_t units;
  int64_t step;
  PairSums<1> pairs;

  __device__ DownWork(const NarrowExpertArgs& of, const Choices& chosen, uint4* shared)
      : args(of),
        choices(chosen),
        inputs(shared, of.input.inputs),
        chunks(static_cast<int>(of.input.inputs / Weights::kChunkInputs) / 2),
        units(of.input.rows * of.outputs * 2),
        step(int64_t{gridDim.x} * kNarrowWarps) {}

  __device__ __forceinline__ int row_of(int64_t unit) const {
    return static_cast<int>(static_cast<uint32_t>(unit / 2) / static_cast<uint32_t>(args.outputs));
  }
  __device__ __forceinline__ int first_of(int64_t unit, int chunk) const {
    return unit % 2 != 0 ? chunk + chunks : chunk;
  }
  __device__ __forceinline__ SideBySide<Weights> weights(int, int64_t unit, int chunk) const {
    const int row = row_of(unit);
    return {args.stacks[0],
            choices.ids + row * args.used,
            args.chunks_of_one,
            int64_t{args.chunks_of_one.divisor} * Weights::kChunkInputs,
            unit / 2 - row * args.outputs,
            first_of(unit, chunk)};
  }
  __device__ __forceinline__ auto part(int64_t unit, int chunk) const {
    return typename RowInput<Weights>::Part(inputs.row(row_of(unit)), first_of(unit, chunk));
  }
  __device__ __forceinline__ void finish(int64_t unit, float (&sums)[1][1]) {
    pairs.join(sums);
    if (threadIdx.x % 32 != 0 || unit % 2 != 0) return;
    atomicAdd(args.hidden + unit / 2, sums[0][0]);  // nobody else adds here
  }
};

template <typename Weights>
__global__ void __launch_bounds__(kNarrowThreads, 1)
    experts_down_kernel(const __grid_constant__ NarrowExpertArgs args) {
  extern __shared__ uint4 shared[];
  __shared__ Choices choices;
  let_next_start();
  wait_for_previous();
  choices.read(args);
  __syncthreads();
  DownWork<Weights> work(args, choices, shared);
  NarrowStream<typename Weights::Chunk, 1, 1, Weights::kUnroll> stream(work);
  const auto ffn = static_cast<uint32_t>(args.input.inputs / args.used);
  for (int r = 0; r < args.input.rows; ++r) {
    RowInput<Weights> row = work.inputs.row(r);
    take_row(args.input, r, [&](int, NarrowInputs inputs) {
      const auto expert = static_cast<int>(static_cast<uint32_t>(inputs.at) / ffn);
      const float weight = expert < args.used ? choices.weights[r * args.used + expert] : 0.0f;
#pragma unroll
      for (float& value : inputs.values) value = weight != 0 ? value * weight : 0.0f;
      row.take(0, inputs);
    });
  }
  __syncthreads();
  stream.run(work);
}

// ---- Launches -----------------------------------------------------------------------------------

template <typename Use>
void with_blocks(core::DType type, const Use& use) {
  switch (type) {
    case core::DType::kQ8_0:
      return use.template operator()<Q8Weights>();
    case core::DType::kQ4_0:
      return use.template operator()<Q4Weights<false>>();
    case core::DType::kF8_B128:
      return use.template operator()<F8Weights>();
    default:
      return use.template operator()<Q4Weights<true>>();
  }
}

template <typename Weights>
int64_t shared_bytes(const NarrowArgs& input) {
  return input.rows * RowInput<Weights>::shared_bytes(input.inputs);
}

template <typename Weights>
void launch_experts(const char* name, void (*kernel)(NarrowExpertArgs),
                    const NarrowExpertArgs& args, int64_t units, cudaStream_t stream) {
  const auto bytes = static_cast<size_t>(shared_bytes<Weights>(args.input));
  allow_shared(kernel, bytes);
  const int64_t at_once =
      blocks_at_once(reinterpret_cast<const void*>(kernel), kNarrowThreads, bytes);
  const int64_t blocks = div_ceil(units, kNarrowWarps);
  launch(name, kernel,
         {dim3(static_cast<unsigned>(blocks < at_once ? blocks : at_once)), kNarrowThreads, bytes,
          stream},
         args);
}

bool is_blocks(core::DType type) {
  return type == core::DType::kQ8_0 || type == core::DType::kQ4_0 || type == core::DType::kQ4_1 ||
         type == core::DType::kF8_B128;
}

// Of the inputs of all rows.
int64_t room_of(core::DType type, int64_t rows, int64_t inputs) {
  int64_t bytes = 0;
  with_blocks(type,
              [&]<typename Weights>() { bytes = rows * RowInput<Weights>::shared_bytes(inputs); });
  return bytes;
}

}  // namespace

bool experts_are_narrow(const DeviceExpertArgs& args) {
  const PackedWeights &gate = args.gate.first, &down = args.down.first;
  const int64_t ffn = gate.outputs, side_by_side = ffn * args.used;
  // A choice without matrices here (slots) is left out by the plan alone. A block of inputs has one
  // expert, and both warps of a pair have as many chunks.
  return args.slots == nullptr && args.rows <= kNarrowRowsMax &&
         args.rows * args.used <= kChoicesMax && is_blocks(gate.type) && is_blocks(down.type) &&
         side_by_side % 64 == 0 && halves_fit(side_by_side, kPaddedInputs) &&
         side_by_side < 1 << 16 &&
         room_of(gate.type, args.rows, gate.inputs) <= card().shared_bytes_max &&
         room_of(down.type, args.rows, side_by_side) <= card().shared_bytes_max;
}

void run_experts_narrow(const DeviceExpertArgs& args, uint16_t* activated, cudaStream_t stream) {
  const PackedWeights &gate = args.gate.first, &down = args.down.first;
  NarrowExpertArgs in;
  in.input.x = args.x;
  in.input.inputs = gate.inputs;
  in.input.rows = args.rows;
  in.stacks[0] = narrow_stack(args.gate);
  in.stacks[1] = narrow_stack(args.up);
  in.ids = args.ids;
  in.used = args.used;
  in.outputs = gate.outputs;
  in.activated = activated;
  with_blocks(gate.type, [&]<typename Weights>() {
    launch_experts<Weights>("experts_in", experts_in_kernel<Weights>, in,
                            args.rows * args.used * gate.outputs, stream);
  });

  NarrowExpertArgs out;
  out.input.x = activated;
  out.input.inputs = gate.outputs * args.used;
  out.input.rows = args.rows;
  out.stacks[0] = narrow_stack(args.down);
  out.ids = args.ids;
  out.weights = args.weights;
  out.used = args.used;
  out.outputs = down.outputs;
  out.hidden = args.hidden;
  with_blocks(down.type, [&]<typename Weights>() {
    out.chunks_of_one = divisor_of(down.inputs / Weights::kChunkInputs);
    launch_experts<Weights>("experts_down", experts_down_kernel<Weights>, out,
                            args.rows * down.outputs * 2, stream);
  });
}

}  // namespace sluice::kernels::cuda
