// Keys or values of a token and kv head as int8 with one scale: what KvFormat::kInt8 holds. Every
// table stores the same bits.
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels {
namespace {

// codes = round(values / scale), ties to even; returns scale = max |value| / 127. What is not a
// finite number shows: the scale is not a number.
inline float int8_codes(const float* values, int32_t count, int8_t* codes) {
  float largest = 0;
  for (int32_t i = 0; i < count; ++i) {
    const float size = __builtin_fabsf(values[i]);
    if (!(size <= largest)) largest = size;
  }
  const bool finite = largest <= 3.4e38f;
  const float inverse = finite && largest > 0 ? 127.0f / largest : 0.0f;
  for (int32_t i = 0; i < count; ++i)
    codes[i] = static_cast<int8_t>(finite ? __builtin_rintf(values[i] * inverse) : 0.0f);
  return finite ? largest / 127.0f : __builtin_nanf("");
}

}  // namespace
}  // namespace sluice::kernels
