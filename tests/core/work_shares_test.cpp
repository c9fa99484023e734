#include "core/work_shares.h"

#include <atomic>
#include <vector>

#include <gtest/gtest.h>

#include "core/thread_pool.h"

namespace sluice::core {
namespace {

TEST(WorkShares, OwnPortionsComeInTheirOrderAndOnce) {
  WorkShares shares(2, 3);
  for (uint64_t round = 1; round <= 3; ++round) {
    for (int portion = 0; portion < 4; ++portion) EXPECT_EQ(shares.take(1, 2, round, 4), portion);
    EXPECT_EQ(shares.take(1, 2, round, 4), -1);
  }
  EXPECT_EQ(shares.take(0, 2, 1, 1), 0);  // another job
  EXPECT_EQ(shares.take(1, 1, 1, 1), 0);  // another owner
}

// Threads that begin their own shares or take all of the others' first: each portion is done once
// a round.
TEST(WorkShares, EveryPortionIsTakenOnce) {
  constexpr int kPortions = 7;
  for (int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    WorkShares shares(1, threads);
    std::vector<std::atomic<int>> done(static_cast<size_t>(threads * kPortions));
    pool.run([&](int thread, int of) {
      for (uint64_t round = 1; round <= 200; ++round) {
        const int first = round % 3 == 0 ? 0 : thread;
        for (int i = 0; i < of; ++i) {
          const int owner = (first + i) % of;
          for (int portion = shares.take(0, owner, round, kPortions); portion >= 0;
               portion = shares.take(0, owner, round, kPortions))
            done[static_cast<size_t>(owner * kPortions + portion)].fetch_add(1);
        }
        pool.meet(thread);
      }
    });
    for (const std::atomic<int>& count : done) EXPECT_EQ(count.load(), 200);
  }
}

}  // namespace
}  // namespace sluice::core
