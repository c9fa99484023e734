#include "gateway/routing/pool_gate.h"

#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "core/rng.h"

namespace sluice::gateway {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

contract::PoolCapacity streams(int64_t most) {
  return {.streams_max = most, .tokens_per_minute = {}};
}
contract::PoolCapacity tokens(int64_t per_minute) {
  return {.streams_max = {}, .tokens_per_minute = per_minute};
}

TEST(PoolGate, WithoutABoundEverybodyGetsIn) {
  PoolGate gate({});
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(gate.enter({.tokens = 1'000'000}, 0));
  EXPECT_LT(gate.room(1'000'000, 0).share, 1.0);
  EXPECT_EQ(gate.room(1'000'000, 0).wait_ns, 0);
}

// Nothing is counted of what nobody asks for: a bound that comes later begins with all of its
// tokens, and who came in before it takes none of them.
TEST(PoolGate, WithoutABoundNoTokensAreCounted) {
  PoolGate gate(streams(10));
  const auto before = gate.enter({.tokens = 500}, 0);
  ASSERT_TRUE(before);
  EXPECT_FALSE(before->counts_tokens);
  EXPECT_EQ(gate.streams(), 1);
  gate.change({.streams_max = 10, .tokens_per_minute = 600});
  EXPECT_EQ(gate.tokens_remaining(0), 600);
  gate.leave(*before, 700, 0);
  EXPECT_EQ(gate.tokens_remaining(0), 600);
  EXPECT_EQ(gate.streams(), 0);
  // And one that goes has its tokens given back, should it come again.
  const auto counted = gate.enter({.tokens = 500}, 0);
  ASSERT_TRUE(counted);
  gate.change(streams(10));
  EXPECT_TRUE(gate.enter({.tokens = 500}, 0));
  gate.leave(*counted, 100, 0);
  gate.change({.streams_max = 10, .tokens_per_minute = 600});
  EXPECT_EQ(gate.tokens_remaining(0), 500);
}

TEST(PoolGate, TakesSoManyStreamsAndSaysWhenOneEnds) {
  PoolGate gate(streams(2));
  const auto first = gate.enter({.tokens = 1, .stay_ns = 10 * kSecond}, 0);
  EXPECT_DOUBLE_EQ(gate.room(1, 0).share, 0.5);
  const auto second = gate.enter({.tokens = 1, .stay_ns = 4 * kSecond}, 6 * kSecond);
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(gate.enter({}, 6 * kSecond));
  EXPECT_DOUBLE_EQ(gate.room(1, 6 * kSecond).share, 1.0);
  // Both end in 4 s, as far as is known: then the ends of two are 8/3 s apart.
  EXPECT_EQ(gate.room(1, 6 * kSecond).wait_ns, 8 * kSecond / 3);
  EXPECT_GT(gate.room(1, 60 * kSecond).wait_ns, 0) << "overdue, and still there";
  gate.leave(*first, 1, 8 * kSecond);
  EXPECT_EQ(gate.room(1, 8 * kSecond).wait_ns, 0);
  EXPECT_TRUE(gate.enter({}, 8 * kSecond));
  EXPECT_EQ(gate.streams(), 2);
}

TEST(PoolGate, OneStreamAloneEndsWhenItIsExpectedTo) {
  PoolGate gate(streams(1));
  ASSERT_TRUE(gate.enter({.tokens = 1, .stay_ns = 10 * kSecond}, 0));
  EXPECT_EQ(gate.room(1, 0).wait_ns, 10 * kSecond);
  EXPECT_EQ(gate.room(1, 4 * kSecond).wait_ns, 6 * kSecond);
}

TEST(PoolGate, TakesSoManyTokensAMinuteAndSaysWhenThereAreMore) {
  PoolGate gate(tokens(600));
  ASSERT_TRUE(gate.enter({.tokens = 500}, 0));
  EXPECT_EQ(gate.tokens_remaining(0), 100);
  EXPECT_TRUE(gate.room(100, 0).wait_ns == 0 && gate.room(100, 0).share < 1.0);
  EXPECT_FALSE(gate.enter({.tokens = 101}, 0));
  const int64_t wait_ns = gate.room(150, 0).wait_ns;
  EXPECT_EQ(wait_ns, 5 * kSecond) << "50 tokens at 10 a second";
  EXPECT_FALSE(gate.enter({.tokens = 150}, wait_ns - 1));
  EXPECT_TRUE(gate.enter({.tokens = 150}, wait_ns));
}

TEST(PoolGate, WhatAnAnswerCameToCounts) {
  PoolGate gate(tokens(600));
  const auto shorter = gate.enter({.tokens = 500}, 0);
  gate.leave(*shorter, 100, 0);
  EXPECT_EQ(gate.tokens_remaining(0), 500);
  const auto longer = gate.enter({.tokens = 400}, 0);
  gate.leave(*longer, 700, 0);
  EXPECT_EQ(gate.tokens_remaining(0), 0);
  EXPECT_EQ(gate.room(1, 0).wait_ns, (200 + 1) * kSecond / 10) << "200 over: those come later";
}

TEST(PoolGate, WhatIsLongerThanAMinutesTokensGoesWhenAllAreThere) {
  PoolGate gate(tokens(600));
  ASSERT_TRUE(gate.enter({.tokens = 1}, 0));
  EXPECT_FALSE(gate.enter({.tokens = 5000}, 0));
  EXPECT_EQ(gate.room(5000, 0).wait_ns, kSecond / 10);
  EXPECT_TRUE(gate.enter({.tokens = 5000}, kSecond / 10));
}

TEST(PoolGate, AnotherCapacityLeavesWhoIsIn) {
  PoolGate gate(streams(3));
  std::vector<PoolGate::Pass> passes;
  for (int i = 0; i < 3; ++i) passes.push_back(*gate.enter({.tokens = 100}, 0));
  gate.change({.streams_max = 1, .tokens_per_minute = 200});
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(gate.enter({.tokens = 1}, 60 * kSecond)) << gate.streams() << " are in";
    gate.leave(passes[static_cast<size_t>(i)], 100, 60 * kSecond);
  }
  EXPECT_TRUE(gate.enter({.tokens = 1}, 60 * kSecond));
}

// Eight threads at a door for five: never more, and all are out in the end.
TEST(PoolGate, NoMoreThanItTakesWhoeverComes) {
  constexpr int kMost = 5;
  PoolGate gate({.streams_max = kMost, .tokens_per_minute = 100'000});
  std::atomic<int> inside = 0;
  std::atomic<int> most_seen = 0;
  std::atomic<int64_t> taken = 0;
  std::vector<std::thread> threads;
  for (uint64_t seed = 0; seed < 8; ++seed)
    threads.emplace_back([&, seed] {
      core::Rng rng(seed);
      for (int i = 0; i < 4000; ++i) {
        const int64_t cost = 1 + rng.below(20);
        const auto pass = gate.enter({.tokens = cost}, 0);
        if (!pass) continue;
        taken.fetch_add(cost);
        const int now = inside.fetch_add(1) + 1;
        int seen = most_seen.load();
        while (now > seen && !most_seen.compare_exchange_weak(seen, now)) {
        }
        inside.fetch_sub(1);
        gate.leave(*pass, cost, 0);
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most_seen.load(), kMost);
  EXPECT_LE(taken.load(), 100'000) << "in a minute in which no time passes";
  EXPECT_GT(taken.load(), 90'000);
  EXPECT_EQ(gate.streams(), 0);
}

}  // namespace
}  // namespace sluice::gateway
