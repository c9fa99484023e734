// The order of a row's logits as one number.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/device_sample_args.h"

namespace sluice::kernels::cuda {

inline constexpr uint64_t kNotFiniteKey = ~0ull;

// Larger for larger values.
__device__ __forceinline__ uint32_t logit_order(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0f);  // -0 is 0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
// Larger for larger values, of equals for the smaller index; 0 for a masked one, kNotFiniteKey for
// what is no finite number.
__device__ __forceinline__ uint64_t logit_key(float value, int64_t index) {
  if (__float_as_uint(value) == kMaskedLogitBits) return 0;
  if (!isfinite(value)) return kNotFiniteKey;
  return uint64_t{logit_order(value)} << 32 | (0xffffffffu - static_cast<uint32_t>(index));
}
__device__ __forceinline__ int32_t id_of_key(uint64_t key) {
  if (key == 0) return kRowAllMasked;
  if (key == kNotFiniteKey) return kRowNotFinite;
  return static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(key));
}

}  // namespace sluice::kernels::cuda
