// Weights of each format as an operand of the tensor cores (grouped.cuh).
//
// Inside a run of 32 inputs their order is free as long as both operands agree. So a thread takes
// the codes that lie together in memory, and of the rows what belongs to these: a run is two
// products of 16 inputs. Codes become whole bf16 numbers, exactly; a run's sum is multiplied by the
// block's scale in float.
//
// A format is a struct with
//   kRunBytes                  of 32 weights of an output
//   kScaleBytes, kScaleRuns    of a scale, and how many runs share it
//   kFirst, kSecond, kStep     inputs of thread t in the run's two products: kFirst + kStep · t …,
//                              kSecond + kStep · t …, four each
//   codes(run, thread) → Codes          one output's part of both products
//   kScalesSums                         and then
//   scale(at) → float                   of a run's sum; or, where there are scales at all,
//   weighted(codes, at) → Codes         scale and minimum
#pragma once

#include "kernels/cuda/e4m3.cuh"

namespace sluice::kernels::cuda {

inline constexpr int kRun = 32;

// d (16, 8) = a (16, 16) · b (16, 8) + c, bf16 in, float out.
__device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4], uint2 b,
                                         const float (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%10, %11, %12, %13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y), "f"(c[0]), "f"(c[1]),
        "f"(c[2]), "f"(c[3]));
}

// [product][inputs 0–1, inputs 2–3 of the thread's four], bf16 pairs.
struct Codes {
  uint32_t pairs[2][2];
};

__device__ __forceinline__ uint32_t difference(uint32_t a, uint32_t b) {
  const __nv_bfloat162 d = __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&a),
                                   *reinterpret_cast<const __nv_bfloat162*>(&b));
  return *reinterpret_cast<const uint32_t*>(&d);
}

// bf16 of 128 + n is 0x4300 + n below 256 / 2: its last bit is worth one.
inline constexpr uint32_t k128 = 0x43004300u;

// Byte j of a run: input j in the low nibble, input j + 16 in the high one.
template <uint32_t kZero>
struct Nibbles {
  static constexpr int kRunBytes = 16;
  static constexpr int kFirst = 0, kSecond = 16, kStep = 4;
  static __device__ __forceinline__ Codes codes(const uint8_t* run, int thread) {
    // Bytes 0, 2, 1, 3: pairs of neighbours are 16 bits apart.
    const uint32_t word =
        __byte_perm(*reinterpret_cast<const uint32_t*>(run + 4 * thread), 0, 0x3120);
    const auto pair = [&](int shift) {
      return difference((word >> shift & 0x000f000fu) | k128, kZero);
    };
    return {{{pair(0), pair(8)}, {pair(4), pair(12)}}};
  }
};

struct Q4_0Weights : Nibbles<0x43084308u> {  // code − 8
  static constexpr int kScaleBytes = 2, kScaleRuns = 1;
  static constexpr bool kScalesSums = true;
  static __device__ __forceinline__ float scale(const std::byte* at) {
    return __half2float(*reinterpret_cast<const __half*>(at));
  }
};

// The minimum is added to the weight, which is rounded to bf16 then.
struct Q4_1Weights : Nibbles<k128> {
  static constexpr int kScaleBytes = 4, kScaleRuns = 1;
  static constexpr bool kScalesSums = false;
  static __device__ __forceinline__ Codes weighted(Codes codes, const std::byte* at) {
    const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(at));
    const __nv_bfloat162 scale = __float2bfloat162_rn(pair.x), zero = __float2bfloat162_rn(pair.y);
    for (uint32_t(&of_product)[2] : codes.pairs)
      for (uint32_t& two : of_product) {
        const __nv_bfloat162 value =
            __hfma2(*reinterpret_cast<const __nv_bfloat162*>(&two), scale, zero);
        two = *reinterpret_cast<const uint32_t*>(&value);
      }
    return codes;
  }
};

struct Q8_0Weights {
  static constexpr int kRunBytes = 32;
  static constexpr int kScaleBytes = 2, kScaleRuns = 1;
  static constexpr bool kScalesSums = true;
  static constexpr int kFirst = 0, kSecond = 4, kStep = 8;
  static __device__ __forceinline__ Codes codes(const uint8_t* run, int thread) {
    const uint2 words = *reinterpret_cast<const uint2*>(run + 8 * thread);
    // The low seven bits, less 128 where the sign is set: 128 + low − (128 or 256).
    const auto pair = [](uint32_t word, int shift) {
      const uint32_t two = word >> shift;
      return difference((two & 0x007f007fu) | k128, (two & 0x00800080u) | k128);
    };
    const uint32_t a = __byte_perm(words.x, 0, 0x3120), b = __byte_perm(words.y, 0, 0x3120);
    return {{{pair(a, 0), pair(a, 8)}, {pair(b, 0), pair(b, 8)}}};
  }
  static __device__ __forceinline__ float scale(const std::byte* at) {
    return __half2float(*reinterpret_cast<const __half*>(at));
  }
};

struct F8Run {
  static constexpr int kRunBytes = 32;
  static constexpr int kScaleBytes = 4, kScaleRuns = 4;
  static constexpr bool kScalesSums = true;
  static constexpr int kFirst = 0, kSecond = 4, kStep = 8;
  static __device__ __forceinline__ Codes codes(const uint8_t* run, int thread) {
    const uint2 words = *reinterpret_cast<const uint2*>(run + 8 * thread);
    // Bytes 0, 2, 1, 3: pairs of neighbours are 16 bits apart.
    const E4m3Pairs a = e4m3_as_bf16(__byte_perm(words.x, 0, 0x3120)),
                    b = e4m3_as_bf16(__byte_perm(words.y, 0, 0x3120));
    return {{{whole(a.first), whole(a.second)}, {whole(b.first), whole(b.second)}}};
  }
  static __device__ __forceinline__ uint32_t whole(uint32_t pair) {
    constexpr uint32_t kUnit = kE4m3Bf16Pair;
    const __nv_bfloat162 unit = *reinterpret_cast<const __nv_bfloat162*>(&kUnit);
    const __nv_bfloat162 value = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&pair), unit);
    return *reinterpret_cast<const uint32_t*>(&value);
  }
  static __device__ __forceinline__ float scale(const std::byte* at) {
    return *reinterpret_cast<const float*>(at);
  }
};

struct Bf16Run {
  static constexpr int kRunBytes = 64;
  static constexpr int kScaleBytes = 0, kScaleRuns = 1;
  static constexpr bool kScalesSums = false;
  static constexpr int kFirst = 0, kSecond = 4, kStep = 8;
  static __device__ __forceinline__ Codes codes(const uint8_t* run, int thread) {
    const uint4 v = *reinterpret_cast<const uint4*>(run + 16 * thread);
    return {{{v.x, v.y}, {v.z, v.w}}};
  }
};

// Calls use.operator()<Format>() with the format in which a type lies on the card.
template <typename Use>
void with_format(core::DType type, const Use& use) {
  switch (type) {
    case core::DType::kQ8_0:
      return use.template operator()<Q8_0Weights>();
    case core::DType::kQ4_0:
      return use.template operator()<Q4_0Weights>();
    case core::DType::kQ4_1:
      return use.template operator()<Q4_1Weights>();
    case core::DType::kF8_B128:
      return use.template operator()<F8Run>();
    default:
      return use.template operator()<Bf16Run>();
  }
}

}  // namespace sluice::kernels::cuda
