// Whose time a replica's was.
#include "gateway/routing/compute_shares.h"

#include <deque>

#include <gtest/gtest.h>

#include "core/rng.h"

namespace sluice::gateway {
namespace {

TEST(ComputeShares, EachOfSeveralHasItsPart) {
  ComputeShares shares;
  const int64_t first = shares.begin(1'000);
  const int64_t second = shares.begin(1'400);
  EXPECT_EQ(shares.end(2'000) - second, 300);
  EXPECT_EQ(shares.end(2'100) - first, 400 + 300 + 100);
  const int64_t third = shares.begin(9'000);
  EXPECT_EQ(shares.end(8'000) - third, 0) << "a clock that another thread has read earlier";
}

TEST(ComputeShares, AddUpToTheTimeInWhichAnyRan) {
  constexpr uint64_t kSeed = 77;
  SCOPED_TRACE(kSeed);
  core::Rng rng(kSeed);
  ComputeShares shares;
  std::deque<int64_t> running;
  int64_t now_ns = 0;
  int64_t busy_ns = 0;
  int64_t sum_ns = 0;
  constexpr int kSteps = 10'000;
  for (int step = 0; step < kSteps; ++step) {
    const int64_t passes_ns = rng.below(1'000'000);
    now_ns += passes_ns;
    busy_ns += running.empty() ? 0 : passes_ns;
    if (running.size() < 8 && rng.below(2) == 0) {
      running.push_back(shares.begin(now_ns));
    } else if (!running.empty()) {
      sum_ns += shares.end(now_ns) - running.front();
      running.pop_front();
    }
  }
  for (; !running.empty(); running.pop_front()) sum_ns += shares.end(now_ns) - running.front();
  EXPECT_LE(sum_ns, busy_ns);
  EXPECT_GE(sum_ns, busy_ns - 8 * kSteps) << "less than a nanosecond is lost to each at each step";
}

}  // namespace
}  // namespace sluice::gateway
