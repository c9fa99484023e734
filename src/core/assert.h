// A bug ends the process: the supervisor restarts it, nothing continues on a broken invariant.
#pragma once

#include <string_view>

#include <fmt/core.h>

namespace sluice::core {

// Prints file:line, the condition and the message to stderr, then aborts.
[[noreturn]] void assert_failed(const char* file, int line, const char* condition,
                                std::string_view message);

}  // namespace sluice::core

// ASSERT(page < pages, "page {} of {}", page, pages): always on. The message carries both values.
#define ASSERT(condition, ...)                                                                   \
  do {                                                                                           \
    if (__builtin_expect(!(condition), 0))                                                       \
      ::sluice::core::assert_failed(__FILE__, __LINE__, #condition, ::fmt::format(__VA_ARGS__)); \
  } while (false)

// The same inside loops over elements: only with the presets dev, asan, tsan and fuzz.
#ifdef SLUICE_DEBUG_ASSERT
#define DEBUG_ASSERT(condition, ...) ASSERT(condition, __VA_ARGS__)
#else
#define DEBUG_ASSERT(condition, ...) ((void)0)
#endif
