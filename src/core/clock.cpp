#include "core/clock.h"

#include <chrono>

namespace sluice::core {
namespace {

template <typename Source>
int64_t nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Source::now().time_since_epoch())
      .count();
}

}  // namespace

int64_t SystemClock::now_ns() const {
  return nanoseconds<std::chrono::steady_clock>();
}
int64_t SystemClock::unix_ns() const {
  return nanoseconds<std::chrono::system_clock>();
}

}  // namespace sluice::core
