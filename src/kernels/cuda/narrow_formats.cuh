// Matrices in blocks of 4 to 8 bits as Weights of narrow.cuh, and the input they meet: int8 with a
// scale for 32 values, as on the processor; codes meet in dp4a. A lane reads 16 bytes of codes at
// once: 16 or 32 weights.
#pragma once

#include "kernels/cuda/narrow_inputs.cuh"

namespace sluice::kernels::cuda {

// One or two f16 as bits: chunks are of plain words, which keep to registers.
__device__ __forceinline__ uint32_t load_half(const std::byte* at) {
  return __ldcs(reinterpret_cast<const unsigned short*>(at));
}
__device__ __forceinline__ uint32_t load_half_pair(const std::byte* at) {
  return __ldcs(reinterpret_cast<const uint32_t*>(at));
}
__device__ __forceinline__ float2 floats_of_halves(uint32_t bits) {
  return __half22float2(*reinterpret_cast<const __half2*>(&bits));
}
__device__ __forceinline__ int dot16(const uint4& a, const uint4& b) {
  int sum = __dp4a(static_cast<int>(a.x), static_cast<int>(b.x), 0);
  sum = __dp4a(static_cast<int>(a.y), static_cast<int>(b.y), sum);
  sum = __dp4a(static_cast<int>(a.z), static_cast<int>(b.z), sum);
  return __dp4a(static_cast<int>(a.w), static_cast<int>(b.w), sum);
}
__device__ __forceinline__ uint4 masked(const uint4& v, uint32_t mask) {
  return {v.x & mask, v.y & mask, v.z & mask, v.w & mask};
}
__device__ __forceinline__ int dot4_unsigned(uint32_t codes, uint32_t x, int sum) {
  asm("dp4a.u32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(codes), "r"(x));
  return sum;
}
// The high nibbles of a by b, 16-fold.
__device__ __forceinline__ int dot16_high(const uint4& a, const uint4& b) {
  const uint4 high = masked(a, 0xf0f0f0f0u);
  return dot4_unsigned(
      high.w, b.w,
      dot4_unsigned(high.z, b.z, dot4_unsigned(high.y, b.y, dot4_unsigned(high.x, b.x, 0))));
}

// The larger of |a| and |b|, with some sign: fabsf() is for the last of a chain. NaN if one is.
__device__ __forceinline__ float larger_size(float a, float b) {
  float larger = 0;
#if SLUICE_SM90A  // one instruction; from 8.6 on
  asm("max.NaN.xorsign.abs.f32 %0, %1, %2;" : "=f"(larger) : "f"(a), "f"(b));
#else
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(larger) : "f"(fabsf(a)), "f"(fabsf(b)));
#endif
  return larger;
}

// Four values · factor, at most 127 in size, as rounded bytes: what is added to leaves whole
// numbers in the low bits of a float.
__device__ __forceinline__ uint32_t rounded_bytes(const float* values, float factor) {
  uint32_t bits[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) bits[i] = __float_as_uint(fmaf(values[i], factor, 0x1.8p23f));
  return __byte_perm(__byte_perm(bits[0], bits[1], 0x0040), __byte_perm(bits[2], bits[3], 0x0040),
                     0x5410);
}

// A row, padded: the first halves of all blocks (16 codes each), 16 bytes of room, so that lanes at
// one half and lanes at the other meet in different banks, the second halves, and for each block
// {scale, scale · sum, scale · sum of the first half, scale · sum of the second}.
template <int kRows>
struct Int8Input {
  static __host__ __device__ int64_t row_vectors(int64_t inputs) {
    return padded_inputs(inputs) / 16 + 1 + padded_inputs(inputs) / 32;
  }
  static int64_t shared_bytes(int64_t inputs) { return kRows * row_vectors(inputs) * 16; }

  uint4* base;
  int blocks;
  int vectors;
  __device__ Int8Input(uint4* shared, int64_t inputs)
      : base(shared),
        blocks(static_cast<int>(padded_inputs(inputs) / 32)),
        vectors(static_cast<int>(row_vectors(inputs))) {}

  // Four lanes have a block, eight values each.
  __device__ __forceinline__ void take(int row, const NarrowInputs& inputs) {
    uint4* halves = base + row * vectors;
    const int part = threadIdx.x % 4;
    const auto& v = inputs.values;
    float largest = 0;
#pragma unroll
    for (const float value : v) largest = larger_size(largest, value);
    largest = larger_size(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
    largest = larger_size(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
    largest = fabsf(largest);  // NaN makes the scale NaN
    const float inverse = largest > 0 ? __fdividef(127, largest) : 0;
    const uint2 codes{rounded_bytes(v, inverse), rounded_bytes(v + 4, inverse)};
    constexpr int kOnes = 0x01010101;
    int sum = __dp4a(static_cast<int>(codes.x), kOnes, __dp4a(static_cast<int>(codes.y), kOnes, 0));
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    const int other = __shfl_xor_sync(0xffffffffu, sum, 2);
    const auto block = static_cast<int>(inputs.at / 32);
    reinterpret_cast<uint2*>(halves + part / 2 * (blocks + 1) + block)[part % 2] = codes;
    const float scale = largest * (1.0f / 127), first = scale * static_cast<float>(sum),
                second = scale * static_cast<float>(other);
    if (part == 0)
      reinterpret_cast<float4*>(halves + 2 * blocks + 1)[block] = {scale, first + second, first,
                                                                   second};
  }
};

// What a lane reads of the input from a block on.
template <int kRows>
struct Int8Blocks {
  const uint4* first;
  const float4* scales;
  int to_second;
  int vectors;
  __device__ __forceinline__ Int8Blocks(const Int8Input<kRows>& input, int block)
      : first(input.base + block),
        scales(reinterpret_cast<const float4*>(input.base + 2 * input.blocks + 1 + block)),
        to_second(input.blocks + 1),
        vectors(input.vectors) {}
  __device__ __forceinline__ const uint4& half(int row, int on, int number) const {
    return first[row * vectors + number * to_second + on];
  }
  __device__ __forceinline__ const float4& scale(int row, int on) const {
    return scales[row * vectors + on];
  }
};

struct Q8Weights {
  static constexpr int kCarveout = 57;
  static constexpr int kUnroll = 4;
  static constexpr int kChunkInputs = 16;
  struct Chunk {
    uint4 codes;  // half a block
    uint32_t scale;
  };
  const std::byte* codes;
  const std::byte* scales;
  __device__ __forceinline__ Q8Weights(const NarrowMatrix& m, int64_t inputs, int64_t output,
                                       int chunk)
      : codes(m.data + output * inputs + chunk * 16),
        scales(m.scales + output * (inputs / 16) + (chunk >> 1) * 2) {}
  // on: even
  __device__ __forceinline__ Chunk load(int on) const {
    return {load_weights(codes + on * 16), load_half(scales + on)};
  }
  template <int kRows>
  struct Input : Int8Input<kRows> {
    using Int8Input<kRows>::Int8Input;
    struct Part {
      Int8Blocks<kRows> x;
      const uint4* half;
      __device__ __forceinline__ Part(const Input& input, int chunk)
          : x(input, chunk >> 1), half(&x.half(0, 0, chunk & 1)) {}
      __device__ __forceinline__ void dot(int on, const Chunk& w, float (&sums)[kRows]) const {
        const float weight = floats_of_halves(w.scale).x;
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const int sum = dot16(w.codes, half[r * x.vectors + on / 2]);
          sums[r] = fmaf(weight * x.scale(r, on / 2).x, static_cast<float>(sum), sums[r]);
        }
      }
    };
  };
};

// Q4_0: value = scale · (code - 8). Q4_1: scale · code + minimum.
template <bool kHasMinimum>
struct Q4Weights {
  static constexpr int kCarveout = 100;
  static constexpr int kUnroll = 4;
  static constexpr int kChunkInputs = 32;
  static constexpr int kScaleBytes = kHasMinimum ? 4 : 2;
  struct Chunk {
    uint4 codes;      // a block
    uint32_t scales;  // of which Q4_0 has the first
  };
  const std::byte* codes;
  const std::byte* scales;
  __device__ __forceinline__ Q4Weights(const NarrowMatrix& m, int64_t inputs, int64_t output,
                                       int chunk)
      : codes(m.data + output * (inputs / 2) + chunk * 16),
        scales(m.scales + output * (inputs / 32 * kScaleBytes) + chunk * kScaleBytes) {}
  __device__ __forceinline__ Chunk load(int on) const {
    const std::byte* of_block = scales + on * kScaleBytes;
    return {load_weights(codes + on * 16),
            kHasMinimum ? load_half_pair(of_block) : load_half(of_block)};
  }
  template <int kRows>
  struct Input : Int8Input<kRows> {
    using Int8Input<kRows>::Int8Input;
    struct Part : Int8Blocks<kRows> {
      __device__ __forceinline__ Part(const Input& input, int chunk)
          : Int8Blocks<kRows>(input, chunk) {}
      __device__ __forceinline__ void dot(int on, const Chunk& w, float (&sums)[kRows]) const {
        const float2 scales = floats_of_halves(w.scales);
        const float weight = scales.x, offset = kHasMinimum ? scales.y : -8 * weight;
        const uint4 low = masked(w.codes, 0x0f0f0f0fu);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const int high = dot16_high(w.codes, this->half(r, on, 1));
          const int sum = dot16(low, this->half(r, on, 0)) + (high >> 4);
          const float4 x = this->scale(r, on);
          sums[r] = fmaf(offset, x.y, fmaf(weight * x.x, static_cast<float>(sum), sums[r]));
        }
      }
    };
  };
};

// value = scale · (code - 32), a scale for each half of a block.
struct Q6Weights {
  static constexpr int kCarveout = 28;
  static constexpr int kUnroll = 4;
  static constexpr int kChunkInputs = 32;
  struct Chunk {
    uint4 low;   // a block
    uint2 high;  // bits 4 and 5 of each half
    uint32_t scales;
  };
  const std::byte* low;
  const std::byte* high;
  const std::byte* scales;
  __device__ __forceinline__ Q6Weights(const NarrowMatrix& m, int64_t inputs, int64_t output,
                                       int chunk)
      : low(m.data + output * (inputs / 2) + chunk * 16),
        high(m.data + m.outputs * (inputs / 2) + output * (inputs / 4) + chunk * 8),
        scales(m.scales + output * (inputs / 8) + chunk * 4) {}
  __device__ __forceinline__ Chunk load(int on) const {
    return {load_weights(low + on * 16), __ldcs(reinterpret_cast<const uint2*>(high + on * 8)),
            load_half_pair(scales + on * 4)};
  }
  // The low or high nibbles of 16 codes with their upper bits.
  static __device__ __forceinline__ uint4 codes(const uint4& nibbles, uint32_t high) {
    constexpr uint32_t kLow = 0x0f0f0f0fu, kHigh = 0x30303030u;
    return {(nibbles.x & kLow) | (high << 4 & kHigh), (nibbles.y & kLow) | (high << 2 & kHigh),
            (nibbles.z & kLow) | (high & kHigh), (nibbles.w & kLow) | (high >> 2 & kHigh)};
  }
  template <int kRows>
  struct Input : Int8Input<kRows> {
    using Int8Input<kRows>::Int8Input;
    struct Part : Int8Blocks<kRows> {
      __device__ __forceinline__ Part(const Input& input, int chunk)
          : Int8Blocks<kRows>(input, chunk) {}
      __device__ __forceinline__ void dot(int on, const Chunk& w, float (&sums)[kRows]) const {
        const uint4 first = codes(w.low, w.high.x);
        const uint4 second =
            codes({w.low.x >> 4, w.low.y >> 4, w.low.z >> 4, w.low.w >> 4}, w.high.y);
        const float2 scales = floats_of_halves(w.scales);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const float4 x = this->scale(r, on);
          const int a = dot16(first, this->half(r, on, 0)), b = dot16(second, this->half(r, on, 1));
          sums[r] += scales.x * (x.x * static_cast<float>(a) - 32 * x.z) +
                     scales.y * (x.x * static_cast<float>(b) - 32 * x.w);
        }
      }
    };
  };
};

}  // namespace sluice::kernels::cuda
