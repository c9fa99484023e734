// Codes of e4m3, four in a word, as the 16-bit floats that products take: their bits move to the
// places of the wider format, whose smaller exponent stays as a factor, so that subnormal numbers
// and zero need nothing of their own. NaN is not told apart: files that hold it are refused.
#pragma once

#include "kernels/cuda/launch.cuh"

namespace sluice::kernels::cuda {

// Codes 0 and 2 of the word, and codes 1 and 3.
struct E4m3Pairs {
  uint32_t even;
  uint32_t odd;
};

inline constexpr float kE4m3OfF16 = 256;                // a code is this many times its f16
inline constexpr float kE4m3OfBf16 = 0x1p120f;          // and of its bf16
inline constexpr uint32_t kE4m3Bf16Pair = 0x7b807b80u;  // that, twice

__device__ __forceinline__ E4m3Pairs e4m3_as_f16(uint32_t word) {
  constexpr uint32_t kSigns = 0x80008000u, kOthers = 0x3f803f80u;
  return {(word << 8 & kSigns) | (word << 7 & kOthers), (word & kSigns) | (word >> 1 & kOthers)};
}
__device__ __forceinline__ E4m3Pairs e4m3_as_bf16(uint32_t word) {
  constexpr uint32_t kSigns = 0x80008000u, kOthers = 0x07f007f0u;
  return {(word << 8 & kSigns) | (word << 4 & kOthers), (word & kSigns) | (word >> 4 & kOthers)};
}

}  // namespace sluice::kernels::cuda
