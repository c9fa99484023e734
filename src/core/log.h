// One line per event to stderr, with a level and UTC time. Formatting is the caller's (fmt).
#pragma once

#include <string_view>

#include <fmt/core.h>

namespace sluice::core {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

class Logger {
 public:
  explicit Logger(LogLevel lowest = LogLevel::kInfo) : lowest_(lowest) {}

  template <typename... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void warning(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::kWarning, fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void error(fmt::format_string<Args...> format, Args&&... args) const {
    write(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void debug(fmt::format_string<Args...> format, Args&&... args) const {
    if (lowest_ == LogLevel::kDebug)
      write(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  void write(LogLevel level, std::string_view line) const;
  LogLevel lowest_;
};

}  // namespace sluice::core
