// What runs in a pool against what the pool takes at once (contract::PoolCapacity): streams, and
// tokens per minute by the same rule as a key's limits (limits/rate_word.h), each counted only
// where it is bounded. Exact: of all threads that enter together no more get in than there is room
// for. It hangs on the pool's id and outlives snapshots; of several gateways each counts its own
// requests.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "contract/snapshot.h"
#include "gateway/limits/rate_word.h"

namespace sluice::gateway {

class PoolGate {
 public:
  explicit PoolGate(const contract::PoolCapacity& capacity);
  PoolGate(const PoolGate&) = delete;
  PoolGate& operator=(const PoolGate&) = delete;

  // A later snapshot's. Who is in stays in. One thread at a time.
  void change(const contract::PoolCapacity& capacity);

  // What a request is expected to take.
  struct Asked {
    int64_t tokens = 0;  // input and output
    int64_t stay_ns = 0;
  };
  // Held from enter() to leave().
  struct Pass {
    bool counts_tokens = false;  // its pool had a bound of them
    RatePlace place = {};
    int64_t end_us = 0;  // expected
  };
  std::optional<Pass> enter(const Asked& asked, int64_t now_ns);  // nullopt: full
  void leave(const Pass& pass, int64_t tokens_used, int64_t now_ns);

  // How it looks to a request of so many tokens.
  struct Room {
    double share = 0.0;   // of what it takes, in use; 1: none is left for this request
    int64_t wait_ns = 0;  // until there is some; 0: now
  };
  Room room(int64_t tokens, int64_t now_ns) const;

  int64_t streams() const { return streams_.load(std::memory_order_relaxed); }
  int64_t tokens_remaining(int64_t now_ns) const { return tokens_.level(now_ns).remaining; }

 private:
  int64_t cost_of(int64_t tokens) const;
  int64_t stream_wait_ns(int64_t streams, int64_t now_ns) const;

  std::atomic<int64_t> streams_max_;
  std::atomic<bool> bounds_tokens_;
  std::atomic<int64_t> streams_ = 0;
  std::atomic<int64_t> ends_us_ = 0;  // the sum of all expected ends
  std::atomic<int64_t> seen_ns_ = 0;  // when somebody entered or left last
  RateWord<> tokens_;
};

}  // namespace sluice::gateway
