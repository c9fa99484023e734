// What is left of a tenant's money decides where its requests may go.
#include <optional>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/gateway/edge_harness.h"

namespace sluice::gateway {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kOwnOutput = 10'000'000;        // nano a million tokens: 10 a token
constexpr int64_t kRentedOutput = 1'000'000'000;  // 1,000 a token

class AnsweringUpstream {
 public:
  uint16_t port() const { return server_.port(); }

 private:
  net::ServerThread server_{
      [](const net::Request&, net::Responder responder) { responder.send(200, {}, kAnswer); }};
};

class EdgeBudget : public testing::Test {
 protected:
  // r0 is our own and slow to begin with, r1 rented, a hundred times as dear, and in time.
  contract::Snapshot money_snapshot(contract::NanoMoney money_per_day) {
    contract::Snapshot snapshot = edge_snapshot({own_.port(), rented_.port()});
    contract::Pool rented;
    rented.id = "rented";
    rented.place = contract::Place::kRemote;
    rented.owner = "cloud";
    snapshot.pools.push_back(rented);
    snapshot.replicas[0].speed.decode_tokens_per_s = 1.0;
    snapshot.replicas[0].speed.decode_tokens_per_s_max = 1.0;
    snapshot.replicas[1].pool = "rented";
    snapshot.models[0].defaults.policy = contract::Policy::kLocalFirst;
    contract::Target target;
    target.tpot = {100'000'000, contract::Statistic::kP99};
    snapshot.models[0].defaults.target = target;
    auto& own = snapshot.prices[0];
    own.pool = "own";
    own.rates = {};
    own.rates[static_cast<size_t>(contract::Unit::kOutputToken)] = {kOwnOutput};
    contract::Price dear = own;
    dear.pool = "rented";
    dear.rates[static_cast<size_t>(contract::Unit::kOutputToken)] = {kRentedOutput};
    snapshot.prices.push_back(dear);
    snapshot.tenants[0].limits.money_per_day = money_per_day;
    return snapshot;
  }
  void make_edge(contract::NanoMoney money_per_day) {
    edge_ = std::make_unique<Edge>(money_snapshot(money_per_day));
  }
  std::string replica_of(const net::Response& response) {
    return header_of(response, "x-sluice-replica");
  }

  AnsweringUpstream own_;
  AnsweringUpstream rented_;
  std::unique_ptr<Edge> edge_;
};

// kBody may come to 8 tokens: 80 at our own, 8,000 at the rented one. The answer states 30 tokens.
TEST_F(EdgeBudget, who_can_pay_goes_where_the_target_is_met) {
  make_edge({1'000'000});
  const net::Response response = edge_->post(kBody);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(replica_of(response), "r1");
}

TEST_F(EdgeBudget, who_can_pay_for_our_own_compute_alone_gets_that) {
  make_edge({7'999});
  const net::Response response = edge_->post(kBody);
  EXPECT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(replica_of(response), "r0");
  const auto events = edge_->records().events(1);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].reserved.nano, 80) << "as much as the place takes that it may go to";
  edge_->records().expect_balanced();
}

TEST_F(EdgeBudget, who_can_pay_for_neither_is_told_so) {
  make_edge({79});
  const net::Response response = edge_->post(kBody);
  EXPECT_EQ(response.status, 429);
  EXPECT_THAT(response.body, HasSubstr("insufficient_quota"));
  EXPECT_EQ(header_of(response, "retry-after-ms"), "") << "no time helps";
}

// Our own place is taken, by eight tokens at one a second; the rented one costs too much.
TEST_F(EdgeBudget, who_can_pay_for_a_place_that_is_taken_hears_when_it_is_free) {
  contract::Snapshot snapshot = money_snapshot({7'999});
  snapshot.replicas[0].speed.streams_max = 1;
  std::optional<net::Responder> held;
  net::ServerThread holding(
      [&](const net::Request&, net::Responder responder) { held = std::move(responder); });
  snapshot.replicas[0].url = fmt::format("http://127.0.0.1:{}/v1", holding.port());
  edge_ = std::make_unique<Edge>(std::move(snapshot));
  net::RawClient holder(edge_->port());
  holder.send(post_text(kBody));
  while (edge_->table().replicas()[0].tracker->streams() == 0) std::this_thread::yield();
  const net::Response response =
      edge_->post(R"({"model":"m","messages":[{"role":"user","content":"hello"}],"max_tokens":8,)"
                  R"("sluice":{"deadline_ms":1}})");
  EXPECT_EQ(response.status, 429);
  EXPECT_THAT(response.body, HasSubstr("insufficient_quota"));
  EXPECT_EQ(header_of(response, "retry-after-ms"), "8000") << response.body;
  edge_.reset();
}

// A nano-unit for a microsecond. As long as a request may run is reserved, what it took is billed.
TEST(EdgeComputePrice, takes_the_replicas_time) {
  constexpr int64_t kLongestUs = 60'000'000;
  AnsweringUpstream own;
  contract::Snapshot snapshot = edge_snapshot({own.port()});
  auto& rates = snapshot.prices[0].rates;
  rates = {};
  rates[static_cast<size_t>(contract::Unit::kComputeMicrosecond)] = {1'000'000};
  snapshot.tenants[0].limits.money_per_day = {kLongestUs + 50'000'000};
  Edge edge(snapshot, {.request_max_ns = kLongestUs * 1000});
  EXPECT_EQ(edge.post(kBody).status, 200);
  const contract::UsageEvent event = edge.records().events(1)[0];
  const int64_t took_us = quantity(event, contract::Unit::kComputeMicrosecond);
  EXPECT_GT(took_us, 0);
  EXPECT_LE(took_us, event.total_ns / 1000);
  EXPECT_EQ(event.reserved.nano, kLongestUs);
  EXPECT_EQ(ledger::total_amount(event.lines).nano, took_us);
  edge.records().expect_balanced();
  snapshot.tenants[0].limits.money_per_day = {kLongestUs - 1};
  edge.update(snapshot);
  EXPECT_EQ(edge.post(kBody).status, 429);
}

}  // namespace
}  // namespace sluice::gateway
