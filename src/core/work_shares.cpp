#include "core/work_shares.h"

#include "core/assert.h"

namespace sluice::core {

WorkShares::WorkShares(int jobs, int threads)
    : threads_(threads), taken_(static_cast<size_t>(jobs) * static_cast<size_t>(threads)) {}

// Who comes first to a share, its owner or not, begins the round: nobody needs to clear anything.
// What a portion reads and writes is ordered by the meetings, not here.
int WorkShares::take(int job, int owner, uint64_t round, int portions) {
  DEBUG_ASSERT(portions <= kPortionsMax, "{} portions", portions);
  constexpr int kRoundShift = 16;
  constexpr uint64_t kCount = (uint64_t{1} << kRoundShift) - 1;
  std::atomic<uint64_t>& word = taken_[static_cast<size_t>(job * threads_ + owner)].word;
  uint64_t seen = word.load(std::memory_order_relaxed);
  for (;;) {
    const uint64_t taken = seen >> kRoundShift == round ? seen & kCount : 0;
    if (taken >= static_cast<uint64_t>(portions)) return -1;
    if (word.compare_exchange_weak(seen, (round << kRoundShift) + taken + 1,
                                   std::memory_order_relaxed))
      return static_cast<int>(taken);
  }
}

}  // namespace sluice::core
