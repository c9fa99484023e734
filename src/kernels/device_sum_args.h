// The op of a device that adds what several cards have made: arguments, as device_args.h.
#pragma once

#include <array>
#include <cstdint>

namespace sluice::kernels {

inline constexpr int kCardsMax = 8;

// to[r] += bias + parts[0][r] + parts[1][r] + …, summed in this order: every card that adds the
// same parts to the same values has the same bits. A part lies on this device or on one that it has
// met (Device::meet).
struct DeviceSumArgs {
  float* to = nullptr;                             // (rows, columns)
  std::array<const float*, kCardsMax> parts = {};  // each (rows, columns)
  int32_t part_count = 0;
  const float* bias = nullptr;  // (columns) or null
  int64_t rows = 0;
  int64_t columns = 0;  // a multiple of 4
};

}  // namespace sluice::kernels
