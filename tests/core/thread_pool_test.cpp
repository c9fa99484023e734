#include "core/thread_pool.h"

#include <vector>

#include <gtest/gtest.h>

namespace sluice::core {
namespace {

TEST(ThreadPool, EveryThreadWorksOncePerRun) {
  for (int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    std::vector<int64_t> calls(static_cast<size_t>(threads), 0);
    for (int i = 0; i < 2000; ++i)
      pool.run([&](int thread, int of) {
        ASSERT_EQ(of, threads);
        ++calls[static_cast<size_t>(thread)];
      });
    for (int64_t c : calls) EXPECT_EQ(c, 2000);
  }
}

// Every thread adds to its own place and, after a meeting, sees the places of all.
TEST(ThreadPool, AMeetingWaitsForEveryThread) {
  for (int threads : {1, 2, 3, 5, 9}) {
    ThreadPool pool(threads);
    std::vector<int64_t> counts(static_cast<size_t>(threads), 0);
    std::vector<int64_t> late(static_cast<size_t>(threads), 0);
    for (int run = 0; run < 20; ++run)
      pool.run([&](int thread, int) {
        for (int round = 0; round < 100; ++round) {
          const int64_t before = counts[static_cast<size_t>(thread)]++;
          pool.meet(thread);
          for (const int64_t count : counts)
            late[static_cast<size_t>(thread)] += count != before + 1;
          pool.meet(thread);
        }
      });
    for (const int64_t l : late) EXPECT_EQ(l, 0);
    for (const int64_t count : counts) EXPECT_EQ(count, 2000);
  }
}

#ifdef SLUICE_DEBUG_ASSERT
TEST(ThreadPool, RunInsideARunEndsTheProcess) {
  EXPECT_DEATH(
      {
        ThreadPool pool(2);
        pool.run([&](int thread, int) {
          if (thread == 0) pool.run([](int, int) {});
        });
      },
      "in or beside another");
}
#endif

TEST(ThreadPool, SplitCoversEverythingOnce) {
  for (int64_t count : {0, 1, 15, 16, 17, 1000})
    for (int threads : {1, 2, 3, 7}) {
      int64_t next = 0;
      for (int t = 0; t < threads; ++t) {
        const Range r = split(count, 16, t, threads);
        EXPECT_EQ(r.begin, next);
        EXPECT_TRUE(r.begin % 16 == 0 || r.begin == count);
        next = r.end;
      }
      EXPECT_EQ(next, count);
    }
}

}  // namespace
}  // namespace sluice::core
