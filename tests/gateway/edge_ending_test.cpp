// What clients see of a gateway that ends.
#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/gateway/edge_harness.h"

namespace sluice::gateway {
namespace {

using contract::Outcome;
using net::Request;
using net::Responder;
using net::ServerThread;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(EdgeEnding, DrainingSaysSo) {
  ServerThread upstream(
      [](const Request&, Responder responder) { send_json(responder, 200, kAnswer); });
  Edge edge(edge_snapshot({upstream.port()}));
  EXPECT_EQ(edge.get("/readyz").status, 200);
  edge.drain();
  EXPECT_EQ(edge.get("/readyz").status, 503);
  EXPECT_EQ(edge.get("/livez").status, 200);
  EXPECT_EQ(edge.post(kBody).status, 503);
}

TEST(EdgeEnding, WhatStillRunsAtTheLimitIsToldSo) {
  std::vector<Responder> held;
  std::promise<void> both;
  ServerThread upstream([&](const Request& request, Responder responder) {
    if (request.body.find("\"stream\":true") != std::string_view::npos) {
      const net::Header headers[] = {{"Content-Type", "text/event-stream"}};
      responder.start_stream(200, headers);
      responder.write(
          "data: {\"id\":\"c-1\",\"created\":1,\"choices\":[{\"index\":0,\"delta\":"
          "{\"content\":\"a\"},\"finish_reason\":null}],\"usage\":null}\n\n");
    }
    held.push_back(responder);
    if (held.size() == 2) both.set_value();
  });
  Edge edge(edge_snapshot({upstream.port()}));
  net::RawClient stream(edge.port());
  stream.send(post_text(kStreamBody));
  stream.read_until("\"a\"");
  net::RawClient whole(edge.port());
  whole.send(post_text(kBody));
  both.get_future().wait();
  edge.end_all();

  const std::string rest = stream.read_until("0\r\n\r\n");
  EXPECT_THAT(rest, HasSubstr("data: {\"error\""));
  EXPECT_THAT(rest, HasSubstr("shutting down and ended"));
  EXPECT_THAT(rest, Not(HasSubstr("[DONE]")));
  const std::string answer = whole.read_until("}}");
  EXPECT_THAT(answer, HasSubstr("503"));
  EXPECT_THAT(answer, HasSubstr("shutting down and ended"));
  for (const contract::UsageEvent& event : edge.records().events(2))
    EXPECT_EQ(event.outcome, Outcome::kUpstreamError);
  edge.records().expect_balanced();
  upstream.destroy();
}

}  // namespace
}  // namespace sluice::gateway
