#include "gateway/routing/fair_queue.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace sluice::gateway {
namespace {

TEST(fair_queue, priority_then_tenant_then_deadline_then_arrival) {
  FairQueue queue(10);
  queue.charge("heavy", {.prompt_tokens = 1000, .cached_tokens = 0, .output_tokens = 0});
  ASSERT_TRUE(queue.push({1, "heavy", 0, 0}));
  ASSERT_TRUE(queue.push({2, "heavy", 0, 500}));
  ASSERT_TRUE(queue.push({3, "heavy", 0, 400}));
  ASSERT_TRUE(queue.push({4, "heavy", 5, 0}));
  std::vector<uint64_t> order;
  while (const auto request = queue.pop()) order.push_back(request->handle);
  EXPECT_EQ(order, (std::vector<uint64_t>{4, 3, 2, 1}));
}

TEST(fair_queue, backlogged_tenants_are_served_alike) {
  FairQueue queue(1000);
  for (uint64_t i = 0; i < 200; ++i) {
    ASSERT_TRUE(queue.push({i, "big", 0, 0}));
    ASSERT_TRUE(queue.push({1000 + i, "small", 0, 0}));
  }
  int64_t big = 0;
  int64_t small = 0;
  for (int i = 0; i < 150; ++i) {
    const auto request = queue.pop();
    const bool is_big = request->tenant == "big";
    const int64_t tokens = is_big ? 300 : 100;
    (is_big ? big : small) += tokens;
    queue.charge(request->tenant,
                 {.prompt_tokens = 0, .cached_tokens = 0, .output_tokens = tokens});
  }
  EXPECT_LE(std::abs(big - small), 600) << "the gap is bounded by the largest request, twice";
}

TEST(fair_queue, who_returns_has_not_saved_up) {
  FairQueue queue(1000);
  for (uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(queue.push({i, "steady", 0, 0}));
  queue.charge("steady", {.prompt_tokens = 100'000, .cached_tokens = 0, .output_tokens = 0});
  for (uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(queue.push({100 + i, "back", 0, 0}));
  int64_t steady = 0;
  for (int i = 0; i < 40; ++i) {
    const auto request = queue.pop();
    steady += request->tenant == "steady" ? 1 : 0;
    queue.charge(request->tenant, {.prompt_tokens = 10, .cached_tokens = 0, .output_tokens = 0});
  }
  EXPECT_EQ(steady, 20);
}

TEST(fair_queue, is_bounded_and_lets_go_of_the_gone_and_the_late) {
  FairQueue queue(3);
  ASSERT_TRUE(queue.push({1, "t", 0, 100}));
  ASSERT_TRUE(queue.push({2, "t", 0, 200}));
  ASSERT_TRUE(queue.push({3, "u", 0, 0}));
  EXPECT_FALSE(queue.push({4, "u", 0, 0}));
  EXPECT_TRUE(queue.remove(2));
  EXPECT_FALSE(queue.remove(2));
  const auto expired = queue.expire(100);
  ASSERT_EQ(expired.size(), 1u);
  EXPECT_EQ(expired[0].handle, 1u);
  EXPECT_EQ(queue.size(), 1);
  EXPECT_EQ(queue.pop()->handle, 3u);
  EXPECT_FALSE(queue.pop());
}

}  // namespace
}  // namespace sluice::gateway
