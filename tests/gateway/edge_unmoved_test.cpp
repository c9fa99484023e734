// The valve chooses a place for a request, never another one for a stream that has begun: not when
// it opens, not when the other place becomes better, not when the stream's replica is lost.
#include <functional>
#include <mutex>
#include <optional>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/sse.h"
#include "tests/gateway/edge_harness.h"

namespace sluice::gateway {
namespace {

using contract::Outcome;
using ::testing::HasSubstr;
using ::testing::Not;

std::string said(std::string_view text, int id) {
  return fmt::format(
      "data: {{\"id\":\"c-1\",\"created\":1,\"choices\":[{{\"index\":0,\"delta\":{{\"content\":"
      "\"{}\"}},\"token_ids\":[{}],\"finish_reason\":null}}]}}\n\n",
      text, id);
}
constexpr std::string_view kFinish =
    "data: {\"id\":\"c-1\",\"created\":1,\"choices\":[{\"index\":0,\"delta\":{},"
    "\"finish_reason\":\"stop\"}]}\n\n";

// r0 is our own, has one place, and says one token of each stream, the rest when the test says so.
// r1 is rented and says all at once. Both could go on with each other's streams by token ids.
class EdgeUnmoved : public testing::Test {
 protected:
  static net::Responder begin(net::Responder responder, std::string_view text) {
    const net::Header headers[] = {{"Content-Type", "text/event-stream"}};
    responder.start_stream(200, headers);
    responder.write(text);
    return responder;
  }
  contract::Snapshot snapshot() {
    contract::Snapshot snapshot = edge_snapshot({own_.port(), rented_.port()});
    contract::Pool rented;
    rented.id = "rented";
    rented.place = contract::Place::kRemote;
    rented.owner = "cloud";
    snapshot.pools.push_back(rented);
    snapshot.replicas[0].speed.streams_max = 1;
    snapshot.replicas[1].pool = "rented";
    for (contract::Replica& replica : snapshot.replicas) {
      replica.kind = contract::ReplicaKind::kSluice;
      replica.secret = "engine";
    }
    snapshot.models[0].defaults.policy = contract::Policy::kLocalFirst;
    return snapshot;
  }
  // A stream at r0 of which the client has the first token.
  void begin_stream() {
    edge_.emplace(snapshot());
    client_.emplace(edge_->port());
    client_->send(post_text(kStreamBody));
    EXPECT_THAT(client_->read_until("\"a\""), HasSubstr("x-sluice-replica: r0\r\n"));
  }
  int asked_of_rented() {
    const std::lock_guard lock(mutex_);
    return asked_of_rented_;
  }
  void on_own(const std::function<void(net::Responder&)>& act) {
    own_.run([&] { act(*held_); });
  }
  static std::set<std::string> replicas_of(const contract::UsageEvent& event) {
    std::set<std::string> replicas;
    for (const contract::UsageLine& line : event.lines) replicas.insert(line.replica);
    return replicas;
  }

  std::mutex mutex_;
  std::optional<net::Responder> held_;  // of the loop of own_
  int asked_of_rented_ = 0;
  net::ServerThread own_{[this](const net::Request&, net::Responder responder) {
    held_ = begin(std::move(responder), said("a", 11));
  }};
  net::ServerThread rented_{[this](const net::Request&, net::Responder responder) {
    const std::lock_guard lock(mutex_);
    ++asked_of_rented_;
    begin(std::move(responder), fmt::format("{}{}{}", said("x", 21), kFinish, net::kSseDone))
        .finish();
  }};
  std::optional<Edge> edge_;
  std::optional<net::RawClient> client_;
};

TEST_F(EdgeUnmoved, WhenTheValveOpensOrTheOtherPlaceIsBetter) {
  begin_stream();
  const net::Response other = edge_->post(kStreamBody);
  EXPECT_EQ(header_of(other, "x-sluice-replica"), "r1") << "our own place is taken";
  EXPECT_EQ(header_of(other, "x-sluice-decision"), "remote_saturated");
  contract::Snapshot better = snapshot();
  better.models[0].defaults.policy = contract::Policy::kFastest;
  better.replicas[0].speed.decode_tokens_per_s = 0.01;
  better.replicas[0].state = contract::ReplicaState::kDraining;
  edge_->update(std::move(better));
  EXPECT_EQ(header_of(edge_->post(kStreamBody), "x-sluice-replica"), "r1");
  const core::SystemClock clock;  // two ticks of the gateway, 50 ms each
  for (const int64_t began_ns = clock.now_ns(); clock.now_ns() - began_ns < 120'000'000;)
    edge_->get("/v1/models");
  on_own([](net::Responder& own) {
    own.write(fmt::format("{}{}{}", said("b", 12), kFinish, net::kSseDone));
    own.finish();
  });
  EXPECT_THAT(client_->read_until("[DONE]"), HasSubstr("\"b\""));
  EXPECT_EQ(asked_of_rented(), 2) << "of the two others";
  const contract::UsageEvent event = edge_->records().events(3)[2];
  EXPECT_EQ(event.outcome, Outcome::kCompleteUsageMissing);
  EXPECT_EQ(replicas_of(event), std::set<std::string>{"r0"});
}

// Another replica of its place could go on; a rented one may not, though it would know how.
TEST_F(EdgeUnmoved, WhenItsReplicaIsLost) {
  begin_stream();
  on_own([](net::Responder& own) { own.abort(); });
  const std::string rest = client_->read_until("\"error\"");
  EXPECT_THAT(rest, Not(HasSubstr("\"x\"")));
  EXPECT_EQ(asked_of_rented(), 0);
  const contract::UsageEvent event = edge_->records().events(1)[0];
  EXPECT_EQ(event.outcome, Outcome::kUpstreamError);
  EXPECT_EQ(replicas_of(event), std::set<std::string>{"r0"});
}

}  // namespace
}  // namespace sluice::gateway
