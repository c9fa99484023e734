// Conversions of 16-bit floats in plain integer arithmetic: exact, and the same on every machine.
// Everything has internal linkage, so that files compiled for different processors may include it.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace sluice::kernels {
namespace {

// IEEE 754 binary16, subnormals, infinities and NaN included.
inline float float_of_f16(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  const uint32_t magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00u)  // infinity, NaN
    return std::bit_cast<float>(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  if (magnitude < 0x0400u) {  // zero, subnormal: magnitude · 2^-24
    const float value = static_cast<float>(magnitude) * 0x1.0p-24f;
    return sign != 0 ? -value : value;
  }
  return std::bit_cast<float>(sign | ((magnitude << 13) + (112u << 23)));
}

// Rounds to nearest, ties to even; over the range to infinity.
inline uint16_t f16_of_float(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;
  if (magnitude < 0x38800000u) {  // below 2^-14: the addition rounds to a multiple of 2^-24
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(shifted) - 0x3f000000u);
  }
  const uint32_t odd = magnitude >> 13 & 1u;
  return sign | static_cast<uint16_t>((magnitude - (112u << 23) + 0xfffu + odd) >> 13);
}

inline float float_of_bf16(uint16_t value) {
  return std::bit_cast<float>(uint32_t{value} << 16);
}

// Rounds to nearest, ties to even; finite values.
inline uint16_t bf16_of_float(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

inline uint16_t load_u16(const void* from) {
  uint16_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
inline void store_u16(void* to, uint16_t value) {
  std::memcpy(to, &value, sizeof value);
}
inline float load_f16(const void* from) {
  return float_of_f16(load_u16(from));
}

}  // namespace
}  // namespace sluice::kernels
