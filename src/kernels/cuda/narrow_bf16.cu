// Few rows by bf16 matrices (narrow.cuh). A lane reads 8 weights at once.
#include "kernels/cuda/narrow.cuh"
#include "kernels/device_weights.h"

namespace sluice::kernels::cuda {
namespace {

struct Bf16Weights {
  using Chunk = uint4;
  static constexpr int kChunkInputs = 8;
  static constexpr int kUnroll = 8;
  static constexpr int kCarveout = 57;
  const std::byte* from;
  __device__ __forceinline__ Bf16Weights(const NarrowMatrix& m, int64_t inputs, int64_t output,
                                         int chunk)
      : from(m.data + output * (inputs * 2) + chunk * 16) {}
  __device__ __forceinline__ Chunk load(int on) const { return load_weights(from + on * 16); }

  // (kRows, padded inputs) bf16.
  template <int kRows>
  struct Input {
    static int64_t shared_bytes(int64_t inputs) { return kRows * padded_inputs(inputs) * 2; }

    uint4* x;
    int chunks;
    __device__ Input(uint4* shared, int64_t inputs)
        : x(shared), chunks(static_cast<int>(padded_inputs(inputs) / 8)) {}

    __device__ __forceinline__ void take(int row, const NarrowInputs& inputs) {
      const auto& v = inputs.values;
      x[row * chunks + inputs.at / 8] = {bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]),
                                         bf16_pair(v[4], v[5]), bf16_pair(v[6], v[7])};
    }

    struct Part {
      const uint4* x;
      int chunks;
      __device__ __forceinline__ Part(const Input& input, int chunk)
          : x(input.x + chunk), chunks(input.chunks) {}
      __device__ __forceinline__ void dot(int on, const Chunk& weights,
                                          float (&sums)[kRows]) const {
        const float2 w[4] = {floats_of_bf16(weights.x), floats_of_bf16(weights.y),
                             floats_of_bf16(weights.z), floats_of_bf16(weights.w)};
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const uint4 packed = x[r * chunks + on];
          const float2 v[4] = {floats_of_bf16(packed.x), floats_of_bf16(packed.y),
                               floats_of_bf16(packed.z), floats_of_bf16(packed.w)};
#pragma unroll
          for (int i = 0; i < 4; ++i) sums[r] = fmaf(w[i].x, v[i].x, fmaf(w[i].y, v[i].y, sums[r]));
        }
      }
    };
  };
};

}  // namespace

NarrowArgs narrow_args(const DeviceLinearArgs& args) {
  const int64_t inputs = args.products[0].weights.inputs;
  NarrowArgs narrow;
  narrow.count = args.product_count;
  narrow.inputs = inputs;
  narrow.rows = args.rows;
  for (int32_t p = 0; p < args.product_count; ++p) {
    const DeviceProduct& product = args.products[static_cast<size_t>(p)];
    const PackedWeights& w = product.weights;
    NarrowMatrix& m = narrow.matrices[p];
    m.data = w.data;
    m.scales = w.data + device_scales_at(w.type, w.outputs, w.inputs);
    m.outputs = w.outputs;
    m.y = product.y;
    if (args.result != DeviceResult::kSiluMul || p == 0) narrow.outputs_all += w.outputs;
  }
  narrow.result = args.result;
  narrow.hidden = args.hidden;
  narrow.norm = args.norm;
  narrow.epsilon = args.epsilon;
  narrow.x = args.x;
  narrow.bias = args.bias;
  narrow.activated = args.activated;
  return narrow;
}

NarrowArgs narrow_rows(NarrowArgs args, int64_t first, int64_t rows) {
  for (NarrowMatrix& m : args.matrices)
    if (m.y != nullptr) m.y += first * m.outputs;
  if (args.hidden != nullptr) args.hidden += first * args.inputs;
  if (args.x != nullptr) args.x += first * args.inputs;
  if (args.activated != nullptr) args.activated += first * args.outputs_all;
  args.rows = rows;
  return args;
}

void linear_narrow_bf16(const DeviceLinearArgs& args, cudaStream_t stream) {
  launch_narrow_format<Bf16Weights>(narrow_args(args), stream);
}

}  // namespace sluice::kernels::cuda
