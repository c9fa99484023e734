// A limit of tokens per minute under requests that come at once, through the whole edge: answered
// is what it allows, and who is refused hears when to come again.
#include <atomic>
#include <barrier>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/gateway/edge_harness.h"

namespace sluice::gateway {
namespace {

constexpr int64_t kPerMinute = 100;
constexpr int64_t kUsed = 15;  // of each answer; five times as much is reserved for it
constexpr char kFifteen[] = R"({"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],)"
                            R"("usage":{"prompt_tokens":10,"completion_tokens":5}})";

void ask_at_once(int requests, int clients) {
  SCOPED_TRACE(testing::Message() << requests << " requests of " << clients << " clients");
  net::ServerThread upstream(
      [](const net::Request&, net::Responder responder) { responder.send(200, {}, kFifteen); });
  contract::Snapshot snapshot = edge_snapshot({upstream.port()});
  snapshot.keys[0].limits.tokens_per_minute = kPerMinute;
  Edge edge(std::move(snapshot));
  const core::SystemClock clock;
  const int64_t begin_ns = clock.now_ns();
  std::atomic<int64_t> used = 0;
  std::atomic<int> left = requests;
  std::barrier start(clients);
  std::vector<std::thread> threads;
  for (int i = 0; i < clients; ++i)
    threads.emplace_back([&] {
      start.arrive_and_wait();
      while (left.fetch_sub(1) > 0) {
        const net::Response answer = edge.post(kBody);
        if (answer.status == 200) {
          used += kUsed;
          continue;
        }
        EXPECT_EQ(answer.status, 429);
        EXPECT_THAT(answer.body, testing::HasSubstr("rate_limit_exceeded"));
        EXPECT_NE(header_of(answer, "retry-after-ms"), "");
      }
    });
  for (std::thread& thread : threads) thread.join();
  const int64_t flowed = kPerMinute * (clock.now_ns() - begin_ns) / 60'000'000'000;
  EXPECT_GE(used, kUsed);
  EXPECT_LE(used, kPerMinute + flowed);
  edge.records().expect_balanced();
}

TEST(EdgeOvershoot, IsNoneWithFiveRequestsAtOnce) {
  ask_at_once(5, 5);
}

TEST(EdgeOvershoot, IsNoneWithAThousandRequests) {
  ask_at_once(1'000, 50);
}

}  // namespace
}  // namespace sluice::gateway
