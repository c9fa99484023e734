#include "core/assert.h"

#include <cstdio>
#include <cstdlib>

namespace sluice::core {

void assert_failed(const char* file, int line, const char* condition, std::string_view message) {
  fmt::print(stderr, "{}:{}: assertion failed: {}: {}\n", file, line, condition, message);
  std::fflush(stderr);
  std::abort();
}

}  // namespace sluice::core
