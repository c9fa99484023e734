// How much of a replica's time each of its requests had. While n run, each has an n-th of it, so
// that what all had adds up to the time in which any ran: what a price per second of own compute
// is taken of. From any thread, which holds it for a few instructions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>

namespace sluice::gateway {

class ComputeShares {
 public:
  // What a request had, in nanoseconds, is what end() says less what begin() said.
  int64_t begin(int64_t now_ns) {
    const std::lock_guard lock(mutex_);
    advance(now_ns);
    ++running_;
    return share_ns_;
  }
  int64_t end(int64_t now_ns) {
    const std::lock_guard lock(mutex_);
    advance(now_ns);
    --running_;
    return share_ns_;
  }

 private:
  // A clock that another thread has read earlier stands still.
  void advance(int64_t now_ns) {
    if (running_ > 0) share_ns_ += std::max<int64_t>(now_ns - last_ns_, 0) / running_;
    last_ns_ = std::max(last_ns_, now_ns);
  }

  std::mutex mutex_;
  int64_t running_ = 0;
  int64_t last_ns_ = 0;
  int64_t share_ns_ = 0;  // of a request that had run from the start
};

}  // namespace sluice::gateway
