// Codes of e4m3, four in a word, as the 16-bit floats that products take: their bits move to the
// places of the wider format, whose smaller exponent stays as a factor, so that subnormal numbers
// and zero need nothing of their own. NaN is not told apart: files that hold it are refused.
// Compute capability 9.0 has an instruction for f16; it leaves no factor.
#pragma once

#include "kernels/cuda/launch.cuh"

namespace sluice::kernels::cuda {

// Pairs of f16 or bf16.
struct E4m3Pairs {
  uint32_t first;
  uint32_t second;
};

inline constexpr float kE4m3OfF16 = SLUICE_SM90A ? 1 : 256;  // a code is this many times its f16
inline constexpr float kE4m3OfBf16 = 0x1p120f;               // and of its bf16
inline constexpr uint32_t kE4m3Bf16Pair = 0x7b807b80u;       // that, twice

// Codes 0 and 1 of the word, and codes 2 and 3.
__device__ __forceinline__ E4m3Pairs e4m3_as_f16(uint32_t word) {
  E4m3Pairs pairs{};
#if SLUICE_SM90A
  asm("{.reg .b16 low, high;\n"
      "mov.b32 {low, high}, %2;\n"
      "cvt.rn.f16x2.e4m3x2 %0, low;\n"
      "cvt.rn.f16x2.e4m3x2 %1, high;}"
      : "=r"(pairs.first), "=r"(pairs.second)
      : "r"(word));
#else
  constexpr uint32_t kSigns = 0x80008000u, kOthers = 0x3f803f80u;
  const uint32_t turned = __byte_perm(word, 0, 0x3120);
  pairs = {(turned << 8 & kSigns) | (turned << 7 & kOthers),
           (turned & kSigns) | (turned >> 1 & kOthers)};
#endif
  return pairs;
}
// Codes 0 and 2, and codes 1 and 3.
__device__ __forceinline__ E4m3Pairs e4m3_as_bf16(uint32_t word) {
  constexpr uint32_t kSigns = 0x80008000u, kOthers = 0x07f007f0u;
  return {(word << 8 & kSigns) | (word << 4 & kOthers), (word & kSigns) | (word >> 4 & kOthers)};
}

}  // namespace sluice::kernels::cuda
