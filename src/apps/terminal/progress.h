// A progress bar on stderr where that is a terminal and the work takes over two seconds.
#pragma once

#include <cstdint>
#include <string>

#include "core/clock.h"

namespace sluice::apps {

class Progress {
 public:
  explicit Progress(std::string label);
  ~Progress() { finish(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(int64_t done, int64_t total);
  void finish();  // clears the line

 private:
  std::string label_;
  core::SystemClock clock_;
  int64_t start_ns_;
  int64_t drawn_ns_ = 0;
  bool terminal_;
  bool drawn_ = false;
};

}  // namespace sluice::apps
