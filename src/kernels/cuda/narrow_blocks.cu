// Few rows by matrices in blocks of 4 and 8 bits (narrow.cuh), in whole-number arithmetic: the
// input becomes int8 with a scale for 32 values, as on the processor, and codes meet in dp4a. A
// lane reads 16 bytes of codes at once: 16 or 32 weights.
#include "kernels/cuda/narrow.cuh"

namespace sluice::kernels::cuda {
namespace {

__device__ __forceinline__ float half_at(const std::byte* at) {
  return __half2float(*reinterpret_cast<const __half*>(at));
}
__device__ __forceinline__ int dot16(const uint4& a, const uint4& b) {
  int sum = __dp4a(static_cast<int>(a.x), static_cast<int>(b.x), 0);
  sum = __dp4a(static_cast<int>(a.y), static_cast<int>(b.y), sum);
  sum = __dp4a(static_cast<int>(a.z), static_cast<int>(b.z), sum);
  return __dp4a(static_cast<int>(a.w), static_cast<int>(b.w), sum);
}
__device__ __forceinline__ uint4 low_nibbles(const uint4& v) {
  constexpr uint32_t kMask = 0x0f0f0f0fu;
  return {v.x & kMask, v.y & kMask, v.z & kMask, v.w & kMask};
}
__device__ __forceinline__ uint4 high_nibbles(const uint4& v) {
  return low_nibbles({v.x >> 4, v.y >> 4, v.z >> 4, v.w >> 4});
}

// A row: the first halves of all blocks (16 codes each), 16 bytes of room, so that lanes at one
// half and lanes at the other meet in different banks, the second halves, and for each block
// {scale, scale · sum of the first half, scale · sum of the second, 0}.
template <int kRows>
struct Int8Input {
  static __host__ __device__ int64_t row_vectors(int64_t inputs) {
    return inputs / 16 + 1 + inputs / 32;
  }
  static int64_t shared_bytes(int64_t inputs) { return kRows * row_vectors(inputs) * 16; }

  uint4* base;
  int blocks;
  int vectors;
  __device__ Int8Input(uint4* shared, int64_t inputs)
      : base(shared),
        blocks(static_cast<int>(inputs / 32)),
        vectors(static_cast<int>(row_vectors(inputs))) {}

  __device__ __forceinline__ uint4 half_block(int row, int block, int half) const {
    return base[row * vectors + half * (blocks + 1) + block];
  }
  __device__ __forceinline__ float4 scale(int row, int block) const {
    return reinterpret_cast<const float4*>(base + row * vectors + 2 * blocks + 1)[block];
  }

  // Eight lanes have a block, four values each.
  __device__ __forceinline__ void store(const NarrowArgs& args, int row, float factor) {
    uint4* halves = base + row * vectors;
    auto* scales = reinterpret_cast<float4*>(halves + 2 * blocks + 1);
    const int part = threadIdx.x % 8;
    for (int first = 0; first < blocks; first += kNarrowThreads / 8) {
      const int block = first + static_cast<int>(threadIdx.x / 8);
      const bool has = block < blocks;
      const float4 v =
          has ? input_at(args, row, block * 32 + part * 4, factor) : float4{0, 0, 0, 0};
      float largest = fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
      for (int offset = 4; offset > 0; offset /= 2)
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
      const float inverse = largest > 0 ? 127 / largest : 0;
      const int codes[4] = {__float2int_rn(v.x * inverse), __float2int_rn(v.y * inverse),
                            __float2int_rn(v.z * inverse), __float2int_rn(v.w * inverse)};
      int sum = codes[0] + codes[1] + codes[2] + codes[3];
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      const int other = __shfl_xor_sync(0xffffffffu, sum, 4);
      if (!has) continue;
      const uint32_t packed = (codes[0] & 0xff) | (codes[1] & 0xff) << 8 | (codes[2] & 0xff) << 16 |
                              static_cast<uint32_t>(codes[3]) << 24;
      auto* out = reinterpret_cast<uint32_t*>(halves + (part / 4) * (blocks + 1) + block);
      out[part % 4] = packed;
      const float scale = largest / 127;
      if (part == 0)
        scales[block] = {scale, scale * static_cast<float>(sum), scale * static_cast<float>(other),
                         0};
    }
  }
};

struct Q8Weights {
  static constexpr int kUnroll = 4;  // 293 tok/s of llama3-8b; 8 with 2 blocks: 244
  static constexpr int kBlocks = 4;
  struct Chunk {
    uint4 codes;  // half a block
    float scale;
  };
  static __device__ int chunks(int64_t inputs) { return static_cast<int>(inputs / 16); }
  static __device__ __forceinline__ Chunk load(const NarrowMatrix& m, int64_t inputs,
                                               int64_t output, int chunk) {
    return {load_weights(m.data + output * inputs + chunk * 16),
            half_at(m.scales + (output * (inputs / 32) + chunk / 2) * 2)};
  }
  template <int kRows>
  struct Input : Int8Input<kRows> {
    using Int8Input<kRows>::Int8Input;
    __device__ __forceinline__ void dot(int chunk, const Chunk& w, float (&sums)[kRows]) const {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int sum = dot16(w.codes, this->half_block(r, chunk / 2, chunk % 2));
        sums[r] = fmaf(w.scale * this->scale(r, chunk / 2).x, static_cast<float>(sum), sums[r]);
      }
    }
  };
};

// Q4_0: value = scale · (code - 8). Q4_1: scale · code + minimum.
template <bool kHasMinimum>
struct Q4Weights {
  static constexpr int kUnroll = 4;
  static constexpr int kBlocks = 2;  // 379 tok/s of llama3-8b in Q4_K; 4: 323
  struct Chunk {
    uint4 codes;  // a block
    float scale;
    float offset;
  };
  static __device__ int chunks(int64_t inputs) { return static_cast<int>(inputs / 32); }
  static __device__ __forceinline__ Chunk load(const NarrowMatrix& m, int64_t inputs,
                                               int64_t output, int chunk) {
    const int64_t block = output * (inputs / 32) + chunk;
    const uint4 codes = load_weights(m.data + block * 16);
    if constexpr (kHasMinimum) {
      const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(m.scales + block * 4));
      return {codes, pair.x, pair.y};
    } else {
      const float scale = half_at(m.scales + block * 2);
      return {codes, scale, -8 * scale};
    }
  }
  template <int kRows>
  struct Input : Int8Input<kRows> {
    using Int8Input<kRows>::Int8Input;
    __device__ __forceinline__ void dot(int chunk, const Chunk& w, float (&sums)[kRows]) const {
      const uint4 low = low_nibbles(w.codes), high = high_nibbles(w.codes);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int sum =
            dot16(low, this->half_block(r, chunk, 0)) + dot16(high, this->half_block(r, chunk, 1));
        const float4 x = this->scale(r, chunk);
        sums[r] += w.scale * x.x * static_cast<float>(sum) + w.offset * (x.y + x.z);
      }
    }
  };
};

void launch_type(core::DType type, const NarrowArgs& args, cudaStream_t stream) {
  switch (type) {
    case core::DType::kQ8_0:
      return launch_narrow_format<Q8Weights>(args, stream);
    case core::DType::kQ4_0:
      return launch_narrow_format<Q4Weights<false>>(args, stream);
    default:
      return launch_narrow_format<Q4Weights<true>>(args, stream);
  }
}

}  // namespace

void linear_narrow_blocks(const DeviceLinearArgs& args, cudaStream_t stream) {
  launch_type(args.products[0].weights.type, narrow_args(args), stream);
}

}  // namespace sluice::kernels::cuda
