#include "model/expert_cache.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "core/rng.h"

namespace sluice::model {
namespace {

TEST(ExpertCache, TheMostUsedComesForTheLeastUsed) {
  ExpertCache cache(4, 2, {});
  const int32_t ids[] = {0, 3, 3, 3, 2};
  cache.see(ids);
  cache.count(ids);
  EXPECT_EQ(cache.counts().choices, 5);
  EXPECT_EQ(cache.counts().hits, 1);
  const auto exchange = cache.next_exchange();
  ASSERT_TRUE(exchange);
  EXPECT_EQ(exchange->leaves, 1);
  EXPECT_EQ(exchange->comes, 3);
  EXPECT_EQ(exchange->slot, 1);
  EXPECT_EQ(cache.slots_of()[1], -1);  // the one that leaves is gone at once
  EXPECT_EQ(cache.slots_of()[3], -1);
  cache.arrive(*exchange);
  EXPECT_EQ(cache.slots_of()[3], 1);
  EXPECT_FALSE(cache.next_exchange()) << "equals do not take turns";
}

TEST(ExpertCache, WhatWasUsedLastCountsMost) {
  ExpertCache cache(3, 1, {});
  const int32_t first[] = {0}, later[] = {2};
  for (int step = 0; step < 400; ++step) cache.see(first);
  EXPECT_FALSE(cache.next_exchange());
  int steps = 0;
  while (!cache.next_exchange() && steps < 2000) {
    cache.see(later);
    ++steps;
  }
  EXPECT_LT(steps, 400) << "older choices weigh less";
  EXPECT_GT(steps, 100);
}

TEST(ExpertCache, WithoutSlotsOrWithAllNothingMoves) {
  const int32_t ids[] = {0, 1, 2, 2, 2};
  for (const int32_t slots : {0, 3}) {
    ExpertCache cache(3, slots, {});
    cache.see(ids);
    EXPECT_FALSE(cache.next_exchange());
  }
}

TEST(ExpertCache, NamedExpertsStay) {
  const int32_t named[] = {2, 5}, ids[] = {0, 0, 0, 0, 3};
  ExpertCache cache(6, 3, named);
  EXPECT_EQ(cache.slots_of()[2], 0);
  EXPECT_EQ(cache.slots_of()[5], 1);
  EXPECT_EQ(cache.slots_of()[0], 2);
  const int32_t only_three[] = {3, 3, 3};
  cache.see(only_three);
  const auto exchange = cache.next_exchange();
  ASSERT_TRUE(exchange);
  EXPECT_EQ(exchange->leaves, 0);
  cache.arrive(*exchange);
  for (int step = 0; step < 9; ++step) cache.see(ids);
  const auto next = cache.next_exchange();
  ASSERT_TRUE(next);
  EXPECT_EQ(next->leaves, 3) << "neither of those that are named";
  cache.arrive(*next);
  EXPECT_EQ(cache.slots_of()[2], 0);
  EXPECT_EQ(cache.slots_of()[5], 1);
}

// Choices of Zipf's popularity, of which `place` says by expert the rank, from 0.
class Zipf {
 public:
  template <typename Place>
  Zipf(int32_t experts, uint64_t seed, const Place& place) : rng_(seed) {
    for (int32_t e = 0; e < experts; ++e)
      sums_.push_back((sums_.empty() ? 0 : sums_.back()) + 1.0 / (place(e) % experts + 1));
  }
  std::vector<int32_t> choose(int count) {
    std::vector<int32_t> ids;
    for (int i = 0; i < count; ++i)
      ids.push_back(static_cast<int32_t>(
          std::lower_bound(sums_.begin(), sums_.end(), rng_.unit() * sums_.back()) -
          sums_.begin()));
    return ids;
  }

 private:
  core::Rng rng_;
  std::vector<double> sums_;
};

// Zipf's popularity: a quarter of the experts takes what the best quarter can, and stays there.
TEST(ExpertCache, FindsThePopularExperts) {
  constexpr int32_t kExperts = 64, kSlots = 16;
  Zipf zipf(kExperts, 3, [](int32_t e) { return e * 37 + 5; });
  ExpertCache cache(kExperts, kSlots, {});
  int exchanges = 0;
  for (int step = 0; step < 4000; ++step) {
    const std::vector<int32_t> ids = zipf.choose(4);
    cache.see(ids);
    cache.count(ids);
    if (const auto exchange = cache.next_exchange()) {
      cache.arrive(*exchange);
      ++exchanges;
    }
  }
  const ResidentCounts& counts = cache.counts();
  EXPECT_GT(static_cast<double>(counts.hits) / static_cast<double>(counts.choices), 0.6);
  EXPECT_EQ(counts.exchanges, exchanges);
  EXPECT_LT(exchanges, 400);
}

// Popular experts come to the card that has less to do: over twelve orders of popularity the busier
// of two has on average little more than half of the hits. To the card of the worst expert alone:
// 0.65.
TEST(ExpertCache, CardsHaveAlikeToDo) {
  constexpr int32_t kExperts = 64, kSlots = 16, kOrders = 12;
  double busier = 0, hit_share = 0, exchanges = 0;
  for (int32_t order = 0; order < kOrders; ++order) {
    Zipf zipf(kExperts, static_cast<uint64_t>(order),
              [&](int32_t e) { return e * (2 * order + 5) + order; });
    ExpertCache cache(kExperts, kSlots, {}, 2);
    int64_t hits[2] = {};
    for (int step = 0; step < 4000; ++step) {
      const std::vector<int32_t> ids = zipf.choose(4);
      cache.see(ids);
      cache.count(ids);
      if (step >= 1000)
        for (const int32_t id : ids)
          if (const int32_t slot = cache.slots_of()[static_cast<size_t>(id)]; slot >= 0)
            ++hits[slot / (kSlots / 2)];
      if (const auto exchange = cache.next_exchange()) cache.arrive(*exchange);
    }
    busier += static_cast<double>(std::max(hits[0], hits[1])) /
              static_cast<double>(hits[0] + hits[1]) / kOrders;
    hit_share += cache.counts().hit_share() / kOrders;
    exchanges += 1.0 * static_cast<double>(cache.counts().exchanges) / kOrders;
  }
  EXPECT_LT(exchanges, 400);
  EXPECT_LT(busier, 0.54);
  EXPECT_GT(hit_share, 0.6);
}

}  // namespace
}  // namespace sluice::model
