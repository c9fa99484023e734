// Who needs no key, and what a browser's page may do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/gateway/edge_harness.h"

namespace sluice::gateway {
namespace {

using net::Header;
using ::testing::HasSubstr;
using ::testing::Not;

struct Guests : testing::Test {
  Guests()
      : upstream([](const net::Request&, net::Responder responder) {
          const Header headers[] = {{"Content-Type", "application/json"}};
          responder.send(200, headers, kAnswer);
        }) {
    snapshot = edge_snapshot({upstream.port()});
    contract::Key guest = snapshot.keys[0];
    guest.id = "key_guest";
    guest.hash = std::string(64, '1');
    guest.networks = {"127.0.0.0/8"};
    snapshot.keys.push_back(guest);
  }

  static net::Response ask(const Edge& edge, std::vector<Header> headers,
                           net::Method method = net::Method::kPost) {
    net::BlockingClient client({.host = "127.0.0.1", .port = edge.port()});
    return client
        .request(
            {.method = method, .target = "/v1/chat/completions", .headers = headers, .body = kBody})
        .value();
  }

  net::ServerThread upstream;
  contract::Snapshot snapshot;
};

TEST_F(Guests, AreLetInWhereThereIsAKeyForThem) {
  Edge edge(snapshot, {}, {}, {.guest_key = "key_guest"});
  EXPECT_EQ(ask(edge, {}).status, 200);
  EXPECT_EQ(ask(edge, {{"Authorization", "Bearer none"}}).status, 200);
  EXPECT_EQ(ask(edge, {{"Authorization", "Basic eA=="}}).status, 200);
  EXPECT_EQ(ask(edge, {{"Authorization", "Bearer sk-test"}}).status, 200);
  const auto events = edge.records().events(4);
  EXPECT_EQ(events[0].key, "key_guest");
  EXPECT_EQ(events[3].key, "key_1");
  edge.records().expect_balanced();
}

TEST_F(Guests, AreNotThoseWhoMistypedAKeyOfOurs) {
  Edge edge(snapshot, {}, {}, {.guest_key = "key_guest"});
  EXPECT_EQ(ask(edge, {{"Authorization", "Bearer sk-sluice-mistyped"}}).status, 401);
}

TEST_F(Guests, AreNotPagesFromElsewhere) {
  Edge edge(snapshot, {}, {}, {.guest_key = "key_guest"});
  for (const char* origin : {"http://evil.example", "null", "http://localhost.evil.example",
                             "http://127.0.0.1.evil.example:80", "file://"})
    EXPECT_EQ(ask(edge, {{"Origin", origin}}).status, 401) << origin;
  for (const char* origin :
       {"http://localhost:3000", "http://127.0.0.1", "https://localhost", "http://[::1]:8080"})
    EXPECT_EQ(ask(edge, {{"Origin", origin}}).status, 200) << origin;
  EXPECT_EQ(
      ask(edge, {{"Origin", "http://evil.example"}, {"Authorization", "Bearer sk-test"}}).status,
      200);
}

// Its head comes alone: it is looked at before the body is there.
TEST_F(Guests, AreKnownByTheirHead) {
  Edge edge(snapshot, {}, {}, {.guest_key = "key_guest"});
  net::RawClient client(edge.port());
  client.send(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
      "Content-Length: 1000\r\n\r\n");
  EXPECT_TRUE(client.read_until("\r\n").starts_with("HTTP/1.1 100"));
}

TEST_F(Guests, StayOutWhereTheirKeyIsRevokedOrForAnotherNetwork) {
  EXPECT_EQ(ask(Edge(snapshot), {}).status, 401);
  EXPECT_EQ(ask(Edge(snapshot, {}, {}, {.guest_key = "key_2"}), {}).status, 401);
  snapshot.keys[1].networks = {"10.0.0.0/8"};
  EXPECT_EQ(ask(Edge(snapshot, {}, {}, {.guest_key = "key_guest"}), {}).status, 401);
  snapshot.keys[1].networks = {};
  snapshot.keys[1].revoked = true;
  EXPECT_EQ(ask(Edge(snapshot, {}, {}, {.guest_key = "key_guest"}), {}).status, 401);
}

TEST_F(Guests, AskForTheDefaultModel) {
  constexpr std::string_view kWithout = R"({"messages":[{"role":"user","content":"hello"}]})";
  constexpr std::string_view kDefault =
      R"({"model":"default","messages":[{"role":"user","content":"hello"}]})";
  Edge edge(snapshot, {}, {}, {.default_model = "m"});
  EXPECT_EQ(edge.post(kWithout).status, 200);
  EXPECT_EQ(edge.post(kDefault).status, 200);
  Edge none(snapshot);
  EXPECT_EQ(none.post(kWithout).status, 400);
  EXPECT_EQ(none.post(kDefault).status, 404);
}

TEST_F(Guests, PagesMayReadWhatTheyMayAskFor) {
  Edge edge(snapshot, {}, {}, {.allowed_origin = "*"});
  const Header asks[] = {{"Access-Control-Request-Headers", "authorization"}};
  const net::Response preflight = ask(edge, {asks[0]}, net::Method::kOptions);
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(header_of(preflight, "access-control-allow-headers"), "authorization");
  EXPECT_THAT(header_of(preflight, "access-control-allow-methods"), HasSubstr("POST"));
  for (const auto& answer :
       {preflight, ask(edge, {}), edge.post(kBody), edge.get("/v1/models"), edge.get("/nothing")})
    EXPECT_EQ(header_of(answer, "access-control-allow-origin"), "*") << answer.status;
  Edge closed(snapshot);
  EXPECT_EQ(ask(closed, {asks[0]}, net::Method::kOptions).status, 405);
  EXPECT_EQ(header_of(closed.post(kBody), "access-control-allow-origin"), "");
}

}  // namespace
}  // namespace sluice::gateway
