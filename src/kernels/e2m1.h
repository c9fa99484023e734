// 4-bit floats: sign, two bits of exponent, one of mantissa (OCP microscaling formats, 2023).
#pragma once

#include <array>
#include <cstdint>

namespace sluice::kernels {

// Twice their values, which are whole numbers: with half the scale they say the same.
inline constexpr std::array<int8_t, 16> kTwiceE2m1 = {0, 1,  2,  3,  4,  6,  8,  12,
                                                      0, -1, -2, -3, -4, -6, -8, -12};

}  // namespace sluice::kernels
