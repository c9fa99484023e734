// A limit per minute: the generic cell rate algorithm (ITU-T I.371) with its theoretical arrival
// time written in tokens, so that nothing is ever rounded.
//
// flowed(t), the tokens that the limit has let flow by time t, is floor(elapsed · limit / minute):
// an exact function, not a sum of rounded steps. Tokens taken lie end to end on the axis of
// flowed(): a request takes the places from max(end of the last, flowed(now)) on, and may, if
// they end at most `burst` beyond flowed(now). Each place is used once and only while it is ahead
// of flowed(), therefore: between any two times s ≤ e no more than flowed(e) − flowed(s) + burst
// tokens are admitted, in a minute never more than limit + burst, and burst at once.
//
// A request that needed less gives places back, but only those that have not flowed by: those
// lie in the past, where nobody can use them, and to hand them out anew would admit more than the
// above. (What TAT −= refund does: ten long answers that end together would open the limit ten
// times over.) Giving back moves the later places forward; how far is known only as a bound, the
// sum of all that came back since, so a refund may return less than was free, never more.
//
// Two counters that only grow, so a compare-and-swap cannot be fooled by a value that came back:
//   taken_     end of the last place, not moved by what was given back
//   returned_  all that was given back: the end is taken_ − returned_
// reserve() and book() swap taken_, give_back() swaps returned_: one word each. Only differences
// count, so they may pass 2^64.
//
// Each operation happens at the time that it is given. Where those of two threads cross, what
// flows between the two readings of the clock may be admitted twice.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "core/assert.h"
#include "gateway/limits/flow.h"

namespace sluice::gateway {

// What words are made of. The tests' model checker has another that stops at each access.
struct AtomicWords {
  template <typename T>
  using Atomic = std::atomic<T>;
  template <typename T>
  using Parameter = std::atomic<T>;  // of the numbers of a limit, which seldom change
};

// The tokens that a request took.
struct RatePlace {
  int64_t cost = 0;
  uint64_t start = 0;  // counted like taken_
  int64_t flowed = 0;  // at the time; it never moves to before this
};

enum class RateAnswer : uint8_t {
  kTaken,
  kLater,  // passes at retry_at_ns, if nothing comes between
  kNever,  // costs more than the burst
};

struct RateAttempt {
  RateAnswer answer = RateAnswer::kTaken;
  RatePlace place = {};     // kTaken
  int64_t retry_at_ns = 0;  // kLater: the first nanosecond at which it passes
};

struct RateLevel {
  int64_t limit = 0;      // per minute
  int64_t remaining = 0;  // could be taken now
  int64_t reset_ns = 0;   // until the whole burst can
};

template <typename Words = AtomicWords>
class RateWord {
 public:
  // Debt beyond this is not remembered: it also keeps the sums far from overflow.
  static constexpr int64_t kDebtMax = int64_t{1} << 50;

  RateWord(RateLimit limit, int64_t now_ns) : flow_(Flow::begin(limit, now_ns)) {}

  // Another limit from now on. What is taken stays taken, in tokens; if that is more than the new
  // burst, nothing passes until it has flowed. One thread at a time.
  void change(RateLimit limit, int64_t now_ns) {
    const Flow flow = flow_.read();
    if (flow.limit() != limit) flow_.write(flow.continued(limit, now_ns));
  }

  RateAttempt reserve(int64_t cost, int64_t now_ns) {
    ASSERT(cost >= 0, "a cost of {}", cost);
    const Flow flow = flow_.read();
    if (cost == 0) return {};
    if (cost > flow.burst) return {.answer = RateAnswer::kNever};
    const int64_t flowed = flow.flowed(now_ns);
    uint64_t taken = taken_.load();
    while (true) {
      const uint64_t returned = returned_.load();
      const int64_t start = std::max(difference(taken, returned), flowed);
      if (start + cost - flowed > flow.burst) {
        return {.answer = RateAnswer::kLater,
                .retry_at_ns = flow.time_of(start + cost - flow.burst)};
      }
      if (taken_.compare_exchange_weak(taken, returned + bits(start + cost))) {
        return {.place = {.cost = cost, .start = returned + bits(start), .flowed = flowed}};
      }
    }
  }

  // What reserve() would answer, without taking.
  RateAttempt ask(int64_t cost, int64_t now_ns) const {
    const Flow flow = flow_.read();
    if (cost == 0) return {};
    if (cost > flow.burst) return {.answer = RateAnswer::kNever};
    const int64_t flowed = flow.flowed(now_ns);
    const int64_t start = std::max(end_of_last(), flowed);
    if (start + cost - flowed <= flow.burst) return {};
    return {.answer = RateAnswer::kLater, .retry_at_ns = flow.time_of(start + cost - flow.burst)};
  }

  // All of the place but `used` is not needed: the part of it that is still ahead is free again.
  void give_back(const RatePlace& place, int64_t used, int64_t now_ns) {
    ASSERT(used >= 0 && used <= place.cost, "{} used of {}", used, place.cost);
    const int64_t flowed = flow_.read().flowed(now_ns);
    uint64_t returned = returned_.load();
    while (true) {
      const int64_t start = std::max(difference(place.start, returned), place.flowed);
      const int64_t freed = start + place.cost - std::max(start + used, flowed);
      if (freed <= 0) return;
      if (returned_.compare_exchange_weak(returned, returned + bits(freed))) return;
    }
  }

  // Used already and reserved by nobody: taken whether it fits or not. The next ones wait for it.
  RatePlace book(int64_t tokens, int64_t now_ns) {
    ASSERT(tokens >= 0, "a debt of {}", tokens);
    const int64_t flowed = flow_.read().flowed(now_ns);
    uint64_t taken = taken_.load();
    while (true) {
      const uint64_t returned = returned_.load();
      const int64_t start = std::max(difference(taken, returned), flowed);
      const int64_t cost = std::min(tokens, std::max<int64_t>(0, flowed + kDebtMax - start));
      if (taken_.compare_exchange_weak(taken, returned + bits(start + cost)))
        return {.cost = cost, .start = returned + bits(start), .flowed = flowed};
    }
  }

  int64_t limit() const { return flow_.read().per_minute; }
  RateLevel level(int64_t now_ns) const {
    const Flow flow = flow_.read();
    const int64_t flowed = flow.flowed(now_ns);
    const int64_t end = std::max(end_of_last(), flowed);
    return {.limit = flow.per_minute,
            .remaining = std::max<int64_t>(0, flowed + flow.burst - end),
            .reset_ns = end == flowed ? 0 : flow.time_of(end) - now_ns};
  }

 private:
  static uint64_t bits(int64_t tokens) { return static_cast<uint64_t>(tokens); }
  static int64_t difference(uint64_t one, uint64_t other) {
    return static_cast<int64_t>(one - other);
  }
  int64_t end_of_last() const { return difference(taken_.load(), returned_.load()); }

  typename Words::template Atomic<uint64_t> taken_ = 0;
  typename Words::template Atomic<uint64_t> returned_ = 0;
  SharedFlow<Words> flow_;
};

}  // namespace sluice::gateway
