// Real threads at one limit: nothing is admitted beyond it and nothing is lost.

#include <atomic>
#include <barrier>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "core/clock.h"
#include "core/rng.h"
#include "gateway/limits/limit_set.h"
#include "gateway/limits/limit_table.h"
#include "gateway/limits/output_estimate.h"
#include "gateway/limits/prompt_estimate.h"
#include "tests/gateway/one_key.h"

namespace sluice::gateway {
namespace {

constexpr int kThreads = 5;

// A clock that threads may read while one moves it.
class SharedClock final : public core::Clock {
 public:
  int64_t now_ns() const override { return now_ns_.load(); }
  int64_t unix_ns() const override { return now_ns_.load(); }
  void advance_ns(int64_t ns) { now_ns_ += ns; }

 private:
  std::atomic<int64_t> now_ns_ = 0;
};

contract::Snapshot one_key_with(const contract::Limits& limits) {
  contract::Snapshot snapshot = one_key();
  snapshot.keys[0].limits = limits;
  return snapshot;
}

struct World {
  explicit World(const contract::Limits& limits) : snapshot(one_key_with(limits)) {
    table.apply(std::make_shared<contract::Snapshot>(snapshot));
    sets = {table.key_limits(snapshot.keys[0], snapshot.projects[0]),
            table.model_limits(snapshot.models[0])};
  }

  SharedClock clock;
  contract::Snapshot snapshot;
  LimitTable table{clock};
  LimitSets sets;
};

template <typename Work>
void on_threads(Work work) {
  std::barrier start(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      work(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// `requests` at the same moment, each of 7 tokens, against 100 tokens per minute: 14 pass.
void hundred_per_minute(int requests) {
  World world({.tokens_per_minute = 100});
  const Demand demand = {.input_tokens = 3, .output_tokens_likely = 4, .output_tokens_max = 4};
  for (int minute = 1; minute <= 3; ++minute) {
    std::atomic<int64_t> admitted = 0;
    on_threads([&](int thread) {
      for (int i = thread; i < requests; i += kThreads) {
        auto reserved = reserve(world.sets, demand);
        if (!reserved.ok()) continue;
        admitted += 7;
        reserved->settle({.input_tokens = 3, .output_tokens = 4});
      }
    });
    EXPECT_LE(admitted, 100) << requests << " requests, minute " << minute;
    EXPECT_GE(admitted, std::min(requests * 7, 98));
    world.clock.advance_ns(60'000'000'000);
  }
}

TEST(LimitsThreads, HundredTokensPerMinuteFiveRequests) {
  hundred_per_minute(5);
}
TEST(LimitsThreads, HundredTokensPerMinuteFifteenRequests) {
  hundred_per_minute(15);
}
TEST(LimitsThreads, HundredTokensPerMinuteThousandRequests) {
  hundred_per_minute(1'000);
}

// Random lives while the limit changes: in the end all that is left is what was used.
TEST(LimitsThreads, NothingIsLostWhileLimitsChange) {
  constexpr uint64_t kSeed = 21;
  const contract::Limits limits = {.requests_per_minute = 1'000'000,
                                   .tokens_per_minute = 10'000'000,
                                   .concurrent_streams = 3,
                                   .tokens_per_day = 10'000'000};
  World world(limits);
  std::atomic<int64_t> used = 0;
  std::atomic<int64_t> settled = 0;
  on_threads([&](int thread) {
    if (thread == 0) {
      for (int i = 0; i < 200; ++i) {
        world.snapshot.keys[0].limits.tokens_per_minute = i % 2 == 0 ? 50'000 : 10'000'000;
        world.table.apply(std::make_shared<contract::Snapshot>(world.snapshot));
      }
      return;
    }
    core::Rng rng(kSeed + static_cast<uint64_t>(thread));
    for (int i = 0; i < 2'000; ++i) {
      const int64_t output = rng.below(500);
      auto reserved = reserve(world.sets, {.input_tokens = rng.below(100),
                                           .output_tokens_likely = output / 2,
                                           .output_tokens_max = output});
      if (!reserved.ok() || rng.below(3) == 0) continue;
      const int64_t came = rng.below(output + 1);
      reserved->outgrow(came);
      reserved->settle({.output_tokens = came});
      used += came;
      ++settled;
    }
  });
  const RateLimitHeaders headers = rate_limit_headers(world.sets);
  EXPECT_GT(settled, 0);
  EXPECT_EQ(headers.requests->remaining, 1'000'000 - settled);
  EXPECT_EQ(headers.tokens->remaining, 10'000'000 - used);
  auto rest = reserve(world.sets, {.input_tokens = 10'000'000 - used});
  EXPECT_TRUE(rest.ok()) << "the day's quota: " << rest.error().message;
}

TEST(LimitsThreads, EstimatesLearnFromAll) {
  PromptEstimate prompt;
  OutputEstimates outputs(64);
  on_threads([&](int thread) {
    for (int i = 0; i < 2'000; ++i) {
      prompt.learn({.text_bytes = 400, .messages = 1}, 100);
      outputs.learn(static_cast<uint64_t>(1 + (i + thread) % 8), 50);
      EXPECT_LE(outputs.likely(3, 1'000), 1'000);
    }
  });
  const TokenRange range = prompt.range({.text_bytes = 400, .messages = 1});
  EXPECT_GE(range.most, 100);
  EXPECT_LE(range.most, 116);
  EXPECT_LE(outputs.likely(3, 1'000), 62);
}

}  // namespace
}  // namespace sluice::gateway
