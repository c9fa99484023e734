// Few rows by bf16 matrices (narrow.cuh). A lane reads 8 weights at once.
#include "kernels/cuda/narrow.cuh"
#include "kernels/device_weights.h"

namespace sluice::kernels::cuda {
namespace {

struct Bf16Weights {
  using Chunk = uint4;
  static constexpr int kUnroll = 8;  // 243 tok/s of llama3-8b; 4 with 4 blocks: 227
  static constexpr int kBlocks = 2;
  static __host__ __device__ int chunks(int64_t inputs) { return static_cast<int>(inputs / 8); }
  static __device__ __forceinline__ Chunk load(const NarrowMatrix& m, int64_t inputs,
                                               int64_t output, int chunk) {
    return load_weights(m.data + (output * inputs + chunk * 8) * 2);
  }

  // (kRows, inputs) bf16.
  template <int kRows>
  struct Input {
    static int64_t shared_bytes(int64_t inputs) { return kRows * inputs * 2; }

    uint4* x;
    int chunks;
    __device__ Input(uint4* shared, int64_t inputs)
        : x(shared), chunks(static_cast<int>(inputs / 8)) {}

    __device__ __forceinline__ void store(const NarrowArgs& args, int row, float factor) {
      auto* out = reinterpret_cast<uint2*>(x + row * chunks);
      for (int64_t i = threadIdx.x * 4; i < args.inputs; i += kNarrowThreads * 4) {
        const float4 v = input_at(args, row, i, factor);
        out[i / 4] = {bf16_pair(v.x, v.y), bf16_pair(v.z, v.w)};
      }
    }

    __device__ __forceinline__ void dot(int chunk, const Chunk& weights,
                                        float (&sums)[kRows]) const {
      const float2 w[4] = {floats_of_bf16(weights.x), floats_of_bf16(weights.y),
                           floats_of_bf16(weights.z), floats_of_bf16(weights.w)};
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const uint4 packed = x[r * chunks + chunk];
        const float2 v[4] = {floats_of_bf16(packed.x), floats_of_bf16(packed.y),
                             floats_of_bf16(packed.z), floats_of_bf16(packed.w)};
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[r] = fmaf(w[i].x, v[i].x, fmaf(w[i].y, v[i].y, sums[r]));
      }
    }
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

void linear_narrow_bf16(const DeviceLinearArgs& args, cudaStream_t stream) {
  launch_narrow_format<Bf16Weights>(narrow_args(args), stream);
}

}  // namespace sluice::kernels::cuda
