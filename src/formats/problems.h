// Collects everything wrong with an input: one Error counts it all and lists the first 50.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace sluice::formats {

class Problems {
 public:
  static constexpr size_t kListedMax = 50;

  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    ++count_;
    if (lines_.size() < kListedMax)
      lines_.push_back(fmt::format(format, std::forward<Args>(args)...));
  }
  // All of `others`; each as "where: …" where that is given.
  void add_all(const Problems& others, std::string_view where = "") {
    count_ += others.count_;
    for (const std::string& line : others.lines_)
      if (lines_.size() < kListedMax)
        lines_.push_back(where.empty() ? line : fmt::format("{}: {}", where, line));
  }
  bool empty() const { return count_ == 0; }

  // "12 problems:\n  …\n  …", or the one problem alone.
  core::Error error() const {
    ASSERT(!lines_.empty(), "no problem to report");
    if (count_ == 1) return core::invalid("{}", lines_.front());
    std::string text = fmt::format("{} problems:", count_);
    for (const std::string& line : lines_) text += "\n  " + line;
    if (count_ > lines_.size()) text += fmt::format("\n  and {} more", count_ - lines_.size());
    return core::invalid("{}", text);
  }

 private:
  size_t count_ = 0;
  std::vector<std::string> lines_;
};

}  // namespace sluice::formats
