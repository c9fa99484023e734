// When a thread that works beside a loop wants a core. A loop that looks again and again instead of
// sleeping (net::EventLoop) reads it and sleeps while somebody wishes for the core: who never
// sleeps gives it up at the kernel's tick alone, after milliseconds.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

namespace sluice::core {

// From any thread. Times are monotonic (SystemClock::now_ns). A new one wishes for nothing.
class CoreWish {
 public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  void from(int64_t at_ns) { at_ns_.store(at_ns, std::memory_order_relaxed); }
  void now() { from(0); }
  void never() { from(kNever); }
  bool holds(int64_t now_ns) const { return at_ns_.load(std::memory_order_relaxed) <= now_ns; }

 private:
  std::atomic<int64_t> at_ns_ = kNever;
};

}  // namespace sluice::core
