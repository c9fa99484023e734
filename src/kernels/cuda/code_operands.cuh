// Weights kept in blocks as the first operand of wgmma, out of shared memory, for rows_by_codes.cu.
//
// A thread's registers are those of two outputs: of every 16 inputs it has four of each, codes that
// lie together in memory, so that one word is read for four or eight weights. Their places in the
// product are others than in the row (kRunInputs of x are put to the same places by whoever copies
// x): of inputs 4 t + {0, 1, 2, 3} the first and third are the pair of the lower eight places, the
// second and fourth that of the upper eight.
//
// A weight is code · scale, each rounded to bf16.
//
// A format is a struct with
//   kInputs                    of a stage
//   kScaleInputs               whose scales are copied together
//   kXScaleBytes               scales of kXInputs, which are `scales` of
//   decode(a, i, row, run, scales)
//   kUnit                      what sums are multiplied by
#pragma once

#include "core/dtype.h"
#include "kernels/cuda/card.h"
#include "kernels/cuda/grouped_formats.cuh"

namespace sluice::kernels::cuda {

inline constexpr int kCodeRowBytes = 128;  // of an output in a stage: a swizzled row of the copies
inline constexpr int kXInputs = 128;       // of x in a stage; four runs of 32

// [product of 16 inputs][register]
using CodeOperand = uint32_t[2][4];

__device__ __forceinline__ uint32_t scaled(uint32_t codes, __nv_bfloat162 scale) {
  const __nv_bfloat162 value = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&codes), scale);
  return *reinterpret_cast<const uint32_t*>(&value);
}
__device__ __forceinline__ __nv_bfloat162 both(float value) {
  return __float2bfloat162_rn(value);
}
// Half `index` of packed ones.
__device__ __forceinline__ float half_at(const uint32_t* words, int index) {
  const auto pair = *reinterpret_cast<const __half2*>(words + index / 2);
  return index % 2 == 0 ? __low2float(pair) : __high2float(pair);
}
__device__ __forceinline__ uint32_t shared_word(const std::byte* row, int chunk) {
  const auto at = reinterpret_cast<uintptr_t>(row) ^ static_cast<uintptr_t>(chunk << 4);
  return *reinterpret_cast<const uint32_t*>(at);
}

// `row`: the bytes of an output, its first chunk as swizzled, at the thread's word. `scales`: of
// the four runs of kXInputs.
struct Q8Codes {
  static constexpr int kInputs = 128;
  static constexpr int kScaleInputs = scale_inputs(core::DType::kQ8_0);
  static constexpr int kXScaleBytes = 8;
  static constexpr float kUnit = 1;
  static __device__ __forceinline__ void decode(CodeOperand& a, int i, const std::byte* row,
                                                int run, const uint32_t* scales) {
    const __nv_bfloat162 scale = both(half_at(scales, run % 4));
#pragma unroll
    for (int product = 0; product < 2; ++product) {
      const uint32_t word = shared_word(row, run * 2 + product);
#pragma unroll
      for (int upper = 0; upper < 2; ++upper) {
        const uint32_t two = word >> (8 * upper);
        // The low seven bits, less 128 where the sign is set: 128 + low − (128 or 256).
        a[product][i + 2 * upper] =
            scaled(difference((two & 0x007f007fu) | k128, (two & 0x00800080u) | k128), scale);
      }
    }
  }
};

template <bool kHasMinimum>
struct Q4Codes {
  static constexpr int kInputs = 256;
  static constexpr int kScaleInputs = scale_inputs(core::DType::kQ4_0);
  static constexpr int kXScaleBytes = kHasMinimum ? 16 : 8;
  static constexpr float kUnit = 1;
  static __device__ __forceinline__ void decode(CodeOperand& a, int i, const std::byte* row,
                                                int run, const uint32_t* scales) {
    const uint32_t word = shared_word(row, run);
    __nv_bfloat162 scale, minimum;
    if constexpr (kHasMinimum) {
      scale = both(half_at(scales, run % 4 * 2));
      minimum = both(half_at(scales, run % 4 * 2 + 1));
    } else {
      scale = both(half_at(scales, run % 4));
    }
#pragma unroll
    for (int product = 0; product < 2; ++product)
#pragma unroll
      for (int upper = 0; upper < 2; ++upper) {
        const uint32_t codes = difference((word >> (4 * product + 8 * upper) & 0x000f000fu) | k128,
                                          kHasMinimum ? k128 : 0x43084308u);
        uint32_t& to = a[product][i + 2 * upper];
        if constexpr (kHasMinimum) {
          const __nv_bfloat162 value =
              __hfma2(*reinterpret_cast<const __nv_bfloat162*>(&codes), scale, minimum);
          to = *reinterpret_cast<const uint32_t*>(&value);
        } else {
          to = scaled(codes, scale);
        }
      }
  }
};

// Codes lack 2^120 (e4m3.cuh), which scales of 2^8 have no room for: they take a part of it.
struct F8Codes {
  static constexpr int kInputs = 128;
  static constexpr int kScaleInputs = scale_inputs(core::DType::kF8_B128);
  static constexpr int kXScaleBytes = 4;
  static constexpr float kOfScale = 0x1p64f, kUnit = kE4m3OfBf16 / kOfScale;
  static __device__ __forceinline__ void decode(CodeOperand& a, int i, const std::byte* row,
                                                int run, const uint32_t* scales) {
    const __nv_bfloat162 scale = both(__uint_as_float(scales[0]) * kOfScale);
#pragma unroll
    for (int product = 0; product < 2; ++product) {
      const E4m3Pairs pairs = e4m3_as_bf16(shared_word(row, run * 2 + product));
      a[product][i] = scaled(pairs.first, scale);
      a[product][i + 2] = scaled(pairs.second, scale);
    }
  }
};

// d (64, kColumns) += a (64, 16) · b (kColumns, 16)^T, bf16 in, float out; a in registers: of row
// 16 (warp) + lane / 4 and of the row 8 below.
template <int kColumns>
__device__ __forceinline__ void multiply_codes(float (&d)[kColumns / 2], const uint32_t (&a)[4],
                                               uint64_t b);

#define SLUICE_FOUR(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SLUICE_EIGHT(i) SLUICE_FOUR(i), SLUICE_FOUR(i + 4)
#define SLUICE_MULTIPLY_CODES(columns, instruction, ...)                                        \
  template <>                                                                                   \
  __device__ __forceinline__ void multiply_codes<columns>(float(&d)[columns / 2],               \
                                                          const uint32_t(&a)[4], uint64_t b) {  \
    asm volatile(instruction:__VA_ARGS__ : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)); \
  }
SLUICE_MULTIPLY_CODES(16,
                      "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {"
                      "%0, %1, %2, %3, %4, %5, %6, %7"
                      "}, {%8, %9, %10, %11}, %12, 1, 1, 1, 0;\n",
                      SLUICE_EIGHT(0))
SLUICE_MULTIPLY_CODES(32,
                      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
                      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
                      "}, {%16, %17, %18, %19}, %20, 1, 1, 1, 0;\n",
                      SLUICE_EIGHT(0), SLUICE_EIGHT(8))
SLUICE_MULTIPLY_CODES(
    64,
    "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
    "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 0;\n",
    SLUICE_EIGHT(0), SLUICE_EIGHT(8), SLUICE_EIGHT(16), SLUICE_EIGHT(24))
#undef SLUICE_MULTIPLY_CODES
#undef SLUICE_EIGHT
#undef SLUICE_FOUR

}  // namespace sluice::kernels::cuda
