// Integer arithmetic whose rounding is in its name.
#pragma once

#include <cstdint>

#include "core/assert.h"

namespace sluice::core {

constexpr int64_t div_ceil(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}
constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return div_ceil(value, multiple) * multiple;
}
inline int64_t div_exact(int64_t value, int64_t divisor) {
  ASSERT(divisor != 0 && value % divisor == 0, "{} / {} leaves a rest", value, divisor);
  return value / divisor;
}

}  // namespace sluice::core
