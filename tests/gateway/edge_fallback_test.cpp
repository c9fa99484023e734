// A model without a replica is answered for by a fallback: by whose limits, at whose price.
#include <future>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/gateway/edge_harness.h"

namespace sluice::gateway {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kDearOutput = 5'000'000'000;  // nano a million tokens: 5,000 a token

class EdgeFallback : public testing::Test {
 protected:
  // "m" at 10 nano-units a token of output, without a replica; "big" at 5,000 with one, r0.
  contract::Snapshot served_by_big() {
    contract::Snapshot snapshot = edge_snapshot({upstream_.port()});
    snapshot.replicas[0].model = "big";
    contract::Model big = snapshot.models[0];
    big.id = "big";
    snapshot.models.push_back(big);
    snapshot.models[0].fallbacks = {"big"};
    contract::Price dear = snapshot.prices[0];
    dear.model = "big";
    dear.rates = {};
    dear.rates[static_cast<size_t>(contract::Unit::kOutputToken)] = {kDearOutput};
    snapshot.prices.push_back(dear);
    return snapshot;
  }
  static contract::Limits one_request_a_minute() { return {.requests_per_minute = 1}; }

  // kBody may come to 8 tokens.
  static void expect_of_big(Edge& edge) {
    const contract::UsageEvent event = edge.records().events(1)[0];
    EXPECT_EQ(event.model, "big");
    EXPECT_EQ(event.reserved.nano, 8 * 5'000) << "of 'm': 80, and the prompt's tokens";
    edge.records().expect_balanced();
  }

  net::ServerThread upstream_{
      [](const net::Request&, net::Responder responder) { responder.send(200, {}, kAnswer); }};
};

TEST_F(EdgeFallback, ReservesAtItsPriceAndByItsLimits) {
  contract::Snapshot snapshot = served_by_big();
  snapshot.models[0].limits.output_tokens_per_minute = 1;  // too little for any
  snapshot.models[1].limits = one_request_a_minute();
  Edge edge(std::move(snapshot));
  const net::Response first = edge.post(kBody);
  EXPECT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(header_of(first, "x-sluice-model"), "big");
  EXPECT_EQ(header_of(first, "x-ratelimit-limit-requests"), "1");
  expect_of_big(edge);
  const net::Response second = edge.post(kBody);
  EXPECT_EQ(second.status, 429);
  EXPECT_THAT(second.body, HasSubstr("model big"));
}

TEST_F(EdgeFallback, IsNotReservedForWhereItDoesNotAnswer) {
  contract::Snapshot snapshot = served_by_big();
  contract::Replica own = snapshot.replicas[0];
  own.id = "r1";
  own.model = "m";
  snapshot.replicas.push_back(own);
  snapshot.prices[0].model = "m";
  snapshot.prices[0].rates[static_cast<size_t>(contract::Unit::kPromptToken)] = {};
  snapshot.prices[0].rates[static_cast<size_t>(contract::Unit::kCachedPromptToken)] = {};
  snapshot.tenants[0].limits.money_per_day = contract::NanoMoney{80};
  Edge edge(std::move(snapshot));
  EXPECT_EQ(edge.post(kBody).status, 200);
  EXPECT_EQ(edge.records().events(1)[0].reserved.nano, 80);
}

// It waits for a replica of the model that it asked for; then only the fallback has one.
TEST_F(EdgeFallback, ReservesAnewForWhoHasWaited) {
  contract::Snapshot starting = served_by_big();
  starting.replicas[0].model = "m";
  starting.replicas[0].state = contract::ReplicaState::kStarting;
  starting.replicas[0].url = "";
  Edge edge(starting, {.replacement_wait_ns = 60 * kSecondNs});
  auto response = std::async(std::launch::async, [&] { return edge.post(kBody); });
  while (edge.metrics().waiting.value() == 0) std::this_thread::yield();
  contract::Snapshot snapshot = served_by_big();
  snapshot.models[1].limits = one_request_a_minute();
  edge.update(std::move(snapshot));
  const net::Response answer = response.get();
  EXPECT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(header_of(answer, "x-sluice-model"), "big");
  expect_of_big(edge);
  EXPECT_THAT(edge.post(kBody).body, HasSubstr("model big"));
}

}  // namespace
}  // namespace sluice::gateway
