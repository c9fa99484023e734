// Limits that do not flow: calendar quotas, streams open at one time, a prepaid balance. Each
// reserves in full by one compare-and-swap, and never admits beyond its limit.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include "core/assert.h"
#include "gateway/limits/rate_word.h"

namespace sluice::gateway {

// Sums stay within ± this, whatever is booked; a limit beyond it is taken for it.
inline constexpr int64_t kAmountMax = int64_t{1} << 61;

namespace internal {

// word += amount, within ± kAmountMax. (|word| and |amount| are at most that before.)
template <typename Word>
void add_saturating(Word& word, int64_t amount) {
  int64_t value = word.load();
  while (!word.compare_exchange_weak(
      value,
      std::clamp(value + std::clamp(amount, -kAmountMax, kAmountMax), -kAmountMax, kAmountMax))) {
  }
}

}  // namespace internal

// What was used in each of the last periods (days or months, numbered). A request counts in the
// period in which it was reserved: one that is open at midnight takes nothing from the new day,
// and what it gives back or uses beyond its reservation is the old day's. A clock that goes back
// finds the day that it left.
template <typename Words = AtomicWords>
class CalendarWord {
 public:
  explicit CalendarWord(int64_t limit) : limit_(std::clamp<int64_t>(limit, 0, kAmountMax)) {}

  void change(int64_t limit) {
    limit = std::clamp<int64_t>(limit, 0, kAmountMax);
    limit_.store(known() ? limit : ~limit);
  }
  int64_t limit() const { return known() ? limit_.load() : ~limit_.load(); }

  // While nobody can say what was used before, nothing passes that costs something. By the thread
  // that changes the limit.
  void withhold() { limit_.store(~limit()); }
  void release() { limit_.store(limit()); }
  bool known() const { return limit_.load() >= 0; }

  // False: it does not fit. limit ≥ used + cost afterwards, unless more than was reserved is used.
  bool reserve(int64_t cost, int64_t period) {
    ASSERT(cost >= 0, "a cost of {}", cost);
    if (cost == 0) return true;
    Amount* const used = used_in(period);
    if (used == nullptr) return false;
    const int64_t limit = limit_.load();
    int64_t value = used->load();
    while (cost <= limit - value) {
      if (used->compare_exchange_weak(value, value + cost)) return true;
    }
    return false;
  }
  bool fits(int64_t cost, int64_t period) const {
    return cost == 0 || cost <= limit_.load() - used(period);
  }

  // Negative gives back. Dropped where the period is so long over that nobody asks for it.
  void add(int64_t amount, int64_t period) {
    if (Amount* const used = used_in(period)) internal::add_saturating(*used, amount);
  }

  int64_t used(int64_t period) const {
    const Slot& slot = slots_[index_of(period)];
    return slot.period.load() == period ? slot.used.load() : 0;
  }

 private:
  using Amount = typename Words::template Atomic<int64_t>;

  static constexpr int64_t kPeriods = 4;
  static constexpr int64_t kNone = -1;       // before all periods
  static constexpr int64_t kResetting = -2;  // one thread is writing the slot's zero

  struct Slot {
    typename Words::template Atomic<int64_t> period = kNone;
    Amount used = 0;
  };

  static size_t index_of(int64_t period) { return static_cast<size_t>(period % kPeriods); }

  // The first to come in a new period clears the slot of four periods ago; those that come
  // meanwhile wait for its two stores. null: the slot belongs to a later period.
  Amount* used_in(int64_t period) {
    ASSERT(period >= 0, "period {}", period);
    Slot& slot = slots_[index_of(period)];
    int64_t found = slot.period.load();
    while (found != period) {
      if (found > period) return nullptr;
      if (found == kResetting) {
        found = slot.period.load();
      } else if (slot.period.compare_exchange_weak(found, kResetting)) {
        slot.used.store(0);
        slot.period.store(period);
        break;
      }
    }
    return &slot.used;
  }

  typename Words::template Parameter<int64_t>
      limit_;  // its complement, which is negative: withheld
  std::array<Slot, kPeriods> slots_;
};

// Streams that are open now.
template <typename Words = AtomicWords>
class OpenWord {
 public:
  explicit OpenWord(int64_t limit) : limit_(limit) {}

  // Streams beyond a lower limit stay open; no new one begins before there is room.
  void change(int64_t limit) { limit_.store(limit); }
  int64_t limit() const { return limit_.load(); }
  int64_t open() const { return open_.load(); }

  bool reserve() {
    const int64_t limit = limit_.load();
    int64_t open = open_.load();
    while (open < limit) {
      if (open_.compare_exchange_weak(open, open + 1)) return true;
    }
    return false;
  }
  void add() { open_.fetch_add(1); }  // one that is open already, whether it fits or not
  void release() {
    const int64_t before = open_.fetch_sub(1);
    ASSERT(before > 0, "a stream ended and {} were open", before);
  }

 private:
  typename Words::template Parameter<int64_t> limit_;
  typename Words::template Atomic<int64_t> open_ = 0;
};

// What is left of a balance. Until it is known nothing that costs something passes; it then begins
// with what the records say and what was added before. Never reserved below zero; more use than was
// reserved may bring it there.
template <typename Words = AtomicWords>
class BalanceWord {
 public:
  bool known() const { return known_.load(); }
  // Once, by the thread that changes the limit.
  void begin(int64_t left) {
    internal::add_saturating(left_, left);
    known_.store(true);
  }
  int64_t left() const { return left_.load(); }
  bool fits(int64_t cost) const { return cost == 0 || (known() && cost <= left_.load()); }

  bool reserve(int64_t cost) {
    ASSERT(cost >= 0, "a cost of {}", cost);
    if (cost == 0) return true;
    if (!known()) return false;
    int64_t left = left_.load();
    while (cost <= left) {
      if (left_.compare_exchange_weak(left, left - cost)) return true;
    }
    return false;
  }
  void add(int64_t amount) { internal::add_saturating(left_, amount); }

 private:
  typename Words::template Parameter<bool> known_ = false;
  typename Words::template Atomic<int64_t> left_ = 0;
};

}  // namespace sluice::gateway
