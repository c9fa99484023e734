// Matrices in e4m3 as Weights of narrow.cuh, and the input they meet: f16, of which 16 values share
// a scale. A lane reads 16 codes at once. Their products with the input are summed in f16, eight in
// each half of a register, before they join the sum in float: a rounding of 2^-12 of what is
// summed, beside 2^-9 of the input's own.
#pragma once

#include "kernels/cuda/e4m3.cuh"
#include "kernels/cuda/narrow_formats.cuh"

namespace sluice::kernels::cuda {

// A row, padded: of each 16 values the first eight, some room, so that lanes that write the first
// and lanes that write the second meet in different banks, the second eight, and the scales.
template <int kRows>
struct F16Input {
  static constexpr int kValues = 16;
  static constexpr int kRoom = 4;
  // Largest of its 16: eight products with codes of up to 448 have room in f16.
  static constexpr float kLargest = 4 * kE4m3OfF16;
  static constexpr float kLeast = 0x1p-100f;  // what is smaller counts as zero

  static __host__ __device__ int64_t row_vectors(int64_t inputs) {
    return padded_inputs(inputs) / 8 + kRoom + padded_inputs(inputs) / (4 * kValues);
  }
  static int64_t shared_bytes(int64_t inputs) { return kRows * row_vectors(inputs) * 16; }

  uint4* base;
  int groups;
  int vectors;
  __device__ F16Input(uint4* shared, int64_t inputs)
      : base(shared),
        groups(static_cast<int>(padded_inputs(inputs) / kValues)),
        vectors(static_cast<int>(row_vectors(inputs))) {}

  __device__ __forceinline__ int second() const { return groups + kRoom; }
  __device__ __forceinline__ int scales() const { return 2 * groups + kRoom; }

  // Two lanes have 16 values.
  __device__ __forceinline__ void take(int row, const NarrowInputs& inputs) {
    const auto& v = inputs.values;
    float largest = 0;
#pragma unroll
    for (const float value : v) largest = larger_size(largest, value);
    largest = larger_size(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
    largest = fabsf(largest);  // NaN makes the scale NaN
    const float factor = largest >= kLeast ? __fdividef(kLargest, largest) : 0;
    const auto pair = [&](int i) {
      const __half2 two = __floats2half2_rn(v[i] * factor, v[i + 1] * factor);
      return *reinterpret_cast<const uint32_t*>(&two);
    };
    const bool is_second = threadIdx.x % 2 != 0;
    const auto group = static_cast<int>(inputs.at / kValues);
    uint4* of_row = base + row * vectors;
    of_row[(is_second ? second() : 0) + group] = {pair(0), pair(2), pair(4), pair(6)};
    if (!is_second)
      reinterpret_cast<float*>(of_row + scales())[group] = largest * (kE4m3OfF16 / kLargest);
  }
};

struct F8Weights {
  static constexpr int kCarveout = 57;
  static constexpr int kUnroll = 4;
  static constexpr int kChunkInputs = 16;
  static constexpr int kChunksOfScale = 128 / kChunkInputs;
  struct Chunk {
    uint4 codes;
    uint32_t scale;  // the bits of a float
  };
  const std::byte* codes;
  const std::byte* scales;
  __device__ __forceinline__ F8Weights(const NarrowMatrix& m, int64_t inputs, int64_t output,
                                       int chunk)
      : codes(m.data + output * inputs + chunk * 16),
        scales(m.scales + output * (inputs / 32) + chunk / kChunksOfScale * 4) {}
  // on: whole scales
  __device__ __forceinline__ Chunk load(int on) const {
    return {load_weights(codes + on * 16),
            __ldcs(reinterpret_cast<const uint32_t*>(scales + on / kChunksOfScale * 4))};
  }

  template <int kRows>
  struct Input : F16Input<kRows> {
    using F16Input<kRows>::F16Input;
    struct Part {
      const uint4* first;
      const float* scales;
      int to_second;
      int vectors;
      __device__ __forceinline__ Part(const Input& input, int chunk)
          : first(input.base + chunk),
            scales(reinterpret_cast<const float*>(input.base + input.scales()) + chunk),
            to_second(input.second()),
            vectors(input.vectors) {}
      __device__ __forceinline__ void dot(int on, const Chunk& w, float (&sums)[kRows]) const {
        const uint32_t words[4] = {w.codes.x, w.codes.y, w.codes.z, w.codes.w};
        E4m3Pairs pairs[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) pairs[i] = e4m3_as_f16(words[i]);
        const float scale = __uint_as_float(w.scale);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const uint4 x = first[r * vectors + on], y = first[r * vectors + to_second + on];
          const __half2 sum = __hadd2(dot8(pairs[0], pairs[1], x), dot8(pairs[2], pairs[3], y));
          const float2 both = __half22float2(sum);
          sums[r] = fmaf(scale * scales[r * 4 * vectors + on], both.x + both.y, sums[r]);
        }
      }
      static __device__ __forceinline__ __half2 half2_of(const uint32_t& bits) {
        return *reinterpret_cast<const __half2*>(&bits);
      }
      static __device__ __forceinline__ __half2 dot8(const E4m3Pairs& a, const E4m3Pairs& b,
                                                     const uint4& x) {
        __half2 sum = __hmul2(half2_of(a.first), half2_of(x.x));
        sum = __hfma2(half2_of(a.second), half2_of(x.y), sum);
        sum = __hfma2(half2_of(b.first), half2_of(x.z), sum);
        return __hfma2(half2_of(b.second), half2_of(x.w), sum);
      }
    };
  };
};

}  // namespace sluice::kernels::cuda
