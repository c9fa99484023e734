// Work that threads share between two meetings: each has a share of its own, in portions.
//
// A thread takes the portions of its own share from first to last, then what others have left of
// theirs: where one is late (its processor shared, its memory slow) the others do not wait for it.
// Taking one's own costs no more than an addition while nobody else looks at the share.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace sluice::core {

class WorkShares {
 public:
  static constexpr int kPortionsMax = 1 << 15;

  // `jobs`: at the same time, each with a share for every thread.
  WorkShares(int jobs, int threads);

  // The next of the owner's `portions`; -1 when all are taken. `round`, above 0, is one number for
  // the same work on all threads and grows from one use of `job` to the next; between two uses all
  // threads have met.
  int take(int job, int owner, uint64_t round, int portions);

 private:
  struct alignas(64) Taken {
    std::atomic<uint64_t> word{0};  // round · 2^16 + portions taken in it
  };
  const int threads_;
  std::vector<Taken> taken_;  // (jobs, threads)
};

}  // namespace sluice::core
