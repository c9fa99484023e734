// What a request says itself of where it may go: its target, each part with its statistic, and its
// policy.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/gateway/edge_harness.h"

namespace sluice::gateway {
namespace {

using ::testing::HasSubstr;

class EdgeWishes : public testing::Test {
 protected:
  // A token takes a second at r0, our own, and 20 ms at r1, which is rented. A new gateway for each
  // request: nothing is learnt.
  net::Response ask(std::string_view wishes) {
    contract::Snapshot snapshot = edge_snapshot({upstream_.port(), upstream_.port()});
    contract::Pool rented;
    rented.id = "rented";
    rented.place = contract::Place::kRemote;
    rented.owner = "cloud";
    rented.data_classes = {contract::DataClass::kPublic, contract::DataClass::kInternal};
    snapshot.pools.push_back(rented);
    contract::Price cost;
    cost.version = 4;
    cost.side = contract::PriceSide::kCost;
    cost.pool = "rented";
    cost.rates[static_cast<size_t>(contract::Unit::kOutputToken)] = {1'000'000};
    snapshot.prices.push_back(cost);
    snapshot.replicas[0].speed.decode_tokens_per_s = 1.0;
    snapshot.replicas[0].speed.decode_tokens_per_s_max = 1.0;
    snapshot.replicas[1].pool = "rented";
    Edge edge(std::move(snapshot));
    return edge.post(
        fmt::format(R"({{"model":"m","messages":[{{"role":"user","content":"hello"}}],)"
                    R"("max_tokens":8,"sluice":{{{}}}}})",
                    wishes));
  }
  std::string decision(std::string_view wishes) {
    const net::Response response = ask(wishes);
    EXPECT_EQ(response.status, 200) << response.body;
    return header_of(response, "x-sluice-pool") + " " + header_of(response, "x-sluice-decision");
  }

  net::ServerThread upstream_{
      [](const net::Request&, net::Responder responder) { responder.send(200, {}, kAnswer); }};
};

TEST_F(EdgeWishes, AStatisticSaysHowSureTheTargetIsMeant) {
  EXPECT_EQ(decision(""), "own local");
  EXPECT_EQ(decision(R"("target":{"tpot_ms":1100})"), "own local");
  // One per cent of room is enough for every other answer, not for 99 of 100.
  EXPECT_EQ(decision(R"("target":{"tpot_ms":1010})"), "rented remote_target");
  EXPECT_EQ(decision(R"("target":{"tpot_ms":1010,"tpot_statistic":"p99"})"),
            "rented remote_target");
  EXPECT_EQ(decision(R"("target":{"tpot_ms":1010,"tpot_statistic":"p50"})"), "own local");
  EXPECT_EQ(decision(R"("target":{"tpot_ms":1010,"tpot_statistic":"mean"})"), "own local");
  EXPECT_EQ(decision(R"("target":{"total_ms":2000,"total_statistic":"p50"})"),
            "rented remote_target");
  EXPECT_EQ(decision(R"("target":{"ttft_ms":500,"ttft_statistic":"mean"})"), "own local");
}

TEST_F(EdgeWishes, PoliciesAndDataClasses) {
  EXPECT_EQ(decision(R"("policy":"fastest")"), "rented remote_policy");
  EXPECT_EQ(decision(R"("policy":"cheapest")"), "own local");
  EXPECT_EQ(decision(R"("policy":"local_only","target":{"tpot_ms":30})"), "own local_forced");
  EXPECT_EQ(decision(R"("data_class":"private","target":{"tpot_ms":30})"), "own local_forced");
  EXPECT_EQ(decision(R"("target":{"tpot_ms":30})"), "rented remote_target");
}

TEST_F(EdgeWishes, WhatIsNotKnownIsRefused) {
  for (const char* wishes :
       {R"("target":{"tpot_statistic":"p95"})", R"("target":{"tpot_statistic":1})",
        R"("target":{"tpot":1})", R"("target":{"_ms":1})", R"("target":{"latency_ms":1})",
        R"("policy":"local")", R"("data_class":"secret")"}) {
    const net::Response response = ask(wishes);
    EXPECT_EQ(response.status, 400) << wishes;
    EXPECT_THAT(response.body, HasSubstr("sluice.")) << wishes;
  }
}

}  // namespace
}  // namespace sluice::gateway
