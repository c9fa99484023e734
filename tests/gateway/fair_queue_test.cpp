#include "gateway/routing/fair_queue.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::gateway {
namespace {

WaitingRequest waiting(uint64_t handle, const char* key, int32_t priority = 0,
                       int64_t deadline_ns = 0) {
  return {
      .handle = handle, .key = key, .model = "m", .priority = priority, .deadline_ns = deadline_ns};
}

TEST(fair_queue, priority_then_key_then_deadline_then_arrival) {
  FairQueue queue(10);
  queue.charge("heavy", {.prompt_tokens = 1000});
  ASSERT_TRUE(queue.push(waiting(1, "heavy")));
  ASSERT_TRUE(queue.push(waiting(2, "heavy", 0, 500)));
  ASSERT_TRUE(queue.push(waiting(3, "heavy", 0, 400)));
  ASSERT_TRUE(queue.push(waiting(4, "heavy", 5)));
  std::vector<uint64_t> order;
  while (const auto request = queue.pop()) order.push_back(request->handle);
  EXPECT_EQ(order, (std::vector<uint64_t>{4, 3, 2, 1}));
}

// What two keys that both always wait are served, of `served` tokens each time.
std::pair<int64_t, int64_t> serve_two(std::pair<int32_t, int32_t> shares,
                                      std::pair<int64_t, int64_t> tokens) {
  FairQueue queue(2000);
  for (uint64_t i = 0; i < 400; ++i) {
    EXPECT_TRUE(queue.push(waiting(i, "one")));
    EXPECT_TRUE(queue.push(waiting(1000 + i, "other")));
  }
  std::pair<int64_t, int64_t> served;
  for (int i = 0; i < 300; ++i) {
    const auto request = queue.pop();
    const bool one = request->key == "one";
    (one ? served.first : served.second) += one ? tokens.first : tokens.second;
    queue.charge(request->key, {.output_tokens = one ? tokens.first : tokens.second,
                                .share = one ? shares.first : shares.second});
  }
  return served;
}

TEST(fair_queue, backlogged_keys_are_served_alike) {
  const auto [one, other] = serve_two({1, 1}, {300, 100});
  EXPECT_LE(std::abs(one - other), 600) << "the gap is bounded by the largest request, twice";
}

TEST(fair_queue, a_share_is_what_a_key_gets_beside_others) {
  const auto [one, other] = serve_two({3, 1}, {100, 100});
  EXPECT_NEAR(static_cast<double>(one) / static_cast<double>(other), 3.0, 0.1);
}

TEST(fair_queue, who_returns_has_not_saved_up) {
  FairQueue queue(1000);
  for (uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(queue.push(waiting(i, "steady")));
  queue.charge("steady", {.prompt_tokens = 100'000});
  for (uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(queue.push(waiting(100 + i, "back")));
  int64_t steady = 0;
  for (int i = 0; i < 40; ++i) {
    const auto request = queue.pop();
    steady += request->key == "steady" ? 1 : 0;
    queue.charge(request->key, {.prompt_tokens = 10});
  }
  EXPECT_EQ(steady, 20);
}

TEST(fair_queue, is_bounded_and_lets_go_of_the_gone) {
  FairQueue queue(3);
  ASSERT_TRUE(queue.push(waiting(1, "t", 0, 100)));
  ASSERT_TRUE(queue.push(waiting(2, "t", 0, 200)));
  ASSERT_TRUE(queue.push(waiting(3, "u")));
  EXPECT_FALSE(queue.push(waiting(4, "u")));
  EXPECT_TRUE(queue.remove(2));
  EXPECT_FALSE(queue.remove(2));
  EXPECT_EQ(queue.size(), 2);
  EXPECT_EQ(queue.pop()->handle, 1u);
  EXPECT_EQ(queue.pop()->handle, 3u);
  EXPECT_FALSE(queue.pop());
}

TEST(fair_queue, a_busy_model_is_passed_over) {
  FairQueue queue(3);
  ASSERT_TRUE(queue.push(waiting(1, "t", 9)));
  WaitingRequest other = waiting(2, "t");
  other.model = "other";
  ASSERT_TRUE(queue.push(other));
  const std::string busy[] = {"m"};
  EXPECT_EQ(queue.first(busy)->handle, 2u);
  EXPECT_TRUE(queue.remove(2));
  EXPECT_EQ(queue.first(busy), nullptr);
  EXPECT_EQ(queue.first()->handle, 1u);
}

// Every key that ever was charged would be a leak; those that wait are never forgotten.
TEST(fair_queue, remembers_only_so_many_idle_keys) {
  FairQueue queue(2);
  ASSERT_TRUE(queue.push(waiting(1, "a")));
  queue.charge("a", {.prompt_tokens = 100});
  ASSERT_TRUE(queue.push(waiting(2, "b")));
  for (size_t i = 0; i < 3 * FairQueue::kIdleKeysMax; ++i)
    queue.charge(std::to_string(i), {.prompt_tokens = 1});
  queue.charge("b", {.prompt_tokens = 1});
  EXPECT_EQ(queue.pop()->key, "a");  // b was lifted to a's 100 when it came
}

}  // namespace
}  // namespace sluice::gateway
