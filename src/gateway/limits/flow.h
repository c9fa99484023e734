// How many tokens a limit per minute has let flow by a given time: exact integer arithmetic.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>

namespace sluice::gateway {

struct RateLimit {
  // More is taken for this. So much in each minute of 292 years still fits 63 bits.
  static constexpr int64_t kPerMinuteMax = 50'000'000'000;
  static constexpr int64_t kBurstMax = int64_t{1} << 50;

  int64_t per_minute = 0;
  int64_t burst = 0;  // what may be taken at once
  bool operator==(const RateLimit&) const = default;

  // burst_ms: so long saved up may be taken at once; at least 1 token, where anything flows.
  static RateLimit of(int64_t per_minute, int64_t burst_ms);
};

// flowed(t) = anchor_tokens + floor((t − anchor_ns) · per_minute / minute), and its inverse.
struct Flow {
  static constexpr int64_t kMinuteNs = 60'000'000'000;
  static constexpr int64_t kNeverNs = std::numeric_limits<int64_t>::max();

  int64_t anchor_ns = 0;
  int64_t anchor_tokens = 0;
  int64_t per_minute = 0;
  int64_t burst = 0;

  static Flow begin(RateLimit limit, int64_t now_ns) {
    return {.anchor_ns = now_ns, .per_minute = limit.per_minute, .burst = limit.burst};
  }
  // Goes on at another rate. The fraction of a token that was under way is lost.
  Flow continued(RateLimit limit, int64_t now_ns) const {
    return {.anchor_ns = std::max(now_ns, anchor_ns),
            .anchor_tokens = flowed(now_ns),
            .per_minute = limit.per_minute,
            .burst = limit.burst};
  }
  RateLimit limit() const { return {per_minute, burst}; }

  // A clock that went to before the anchor stands still there.
  int64_t flowed(int64_t now_ns) const {
    if (now_ns <= anchor_ns) return anchor_tokens;
    const int64_t elapsed_ns = now_ns - anchor_ns;
    return anchor_tokens + elapsed_ns / kMinuteNs * per_minute + part(elapsed_ns % kMinuteNs);
  }
  // The first nanosecond at which flowed() is at least `tokens`; kNeverNs.
  int64_t time_of(int64_t tokens) const;

 private:
  // A product below 2^63 is divided by a constant, which compilers turn into a multiplication.
  static constexpr int64_t kFastPerMinuteMax = std::numeric_limits<int64_t>::max() / kMinuteNs;
  int64_t part(int64_t rest_ns) const {
    if (per_minute <= kFastPerMinuteMax) return rest_ns * per_minute / kMinuteNs;
    return wide_part(rest_ns);
  }
  int64_t wide_part(int64_t rest_ns) const;
};

// A Flow that one thread changes while others read it: a sequence lock (Boehm 2012, "Can seqlocks
// get along with programming language memory models?"), its fields atomic, its fences loads and
// stores. A reader waits for nothing but a writer's five stores.
template <typename Words>
class SharedFlow {
 public:
  explicit SharedFlow(const Flow& flow)
      : anchor_ns_(flow.anchor_ns),
        anchor_tokens_(flow.anchor_tokens),
        per_minute_(flow.per_minute),
        burst_(flow.burst) {}

  Flow read() const {
    while (true) {
      const int64_t before = version_.load(std::memory_order_acquire);
      const Flow flow = {.anchor_ns = anchor_ns_.load(std::memory_order_acquire),
                         .anchor_tokens = anchor_tokens_.load(std::memory_order_acquire),
                         .per_minute = per_minute_.load(std::memory_order_acquire),
                         .burst = burst_.load(std::memory_order_acquire)};
      if (before % 2 == 0 && version_.load(std::memory_order_relaxed) == before) return flow;
    }
  }
  void write(const Flow& flow) {
    const int64_t version = version_.load(std::memory_order_relaxed);
    version_.store(version + 1, std::memory_order_relaxed);
    anchor_ns_.store(flow.anchor_ns, std::memory_order_release);
    anchor_tokens_.store(flow.anchor_tokens, std::memory_order_release);
    per_minute_.store(flow.per_minute, std::memory_order_release);
    burst_.store(flow.burst, std::memory_order_release);
    version_.store(version + 2, std::memory_order_release);
  }

 private:
  template <typename T>
  using Atomic = typename Words::template Parameter<T>;

  Atomic<int64_t> version_ = 0;  // odd while it is written
  Atomic<int64_t> anchor_ns_;
  Atomic<int64_t> anchor_tokens_;
  Atomic<int64_t> per_minute_;
  Atomic<int64_t> burst_;
};

}  // namespace sluice::gateway
