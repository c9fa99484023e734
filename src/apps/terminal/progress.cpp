#include "apps/terminal/progress.h"

#include <unistd.h>

#include <cstdio>

#include <fmt/core.h>

namespace sluice::apps {
namespace {

constexpr int64_t kSilentNs = 2'000'000'000;
constexpr int64_t kRedrawNs = 100'000'000;
constexpr int kWidth = 30;

}  // namespace

Progress::Progress(std::string label)
    : label_(std::move(label)), start_ns_(clock_.now_ns()), terminal_(isatty(STDERR_FILENO) == 1) {}

void Progress::update(int64_t done, int64_t total) {
  const int64_t now_ns = clock_.now_ns();
  if (!terminal_ || total <= 0 || now_ns - start_ns_ < kSilentNs) return;
  if (drawn_ && now_ns - drawn_ns_ < kRedrawNs) return;
  drawn_ = true;
  drawn_ns_ = now_ns;
  const auto filled = static_cast<int>(done * kWidth / total);
  fmt::print(stderr, "\r{} [{:<{}}] {:3} %", label_, std::string(static_cast<size_t>(filled), '#'),
             kWidth, done * 100 / total);
  std::fflush(stderr);
}

void Progress::finish() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
  drawn_ = false;
}

}  // namespace sluice::apps
