// What clients ask for and upstreams state beyond all bounds: it is bounded, at any valid price,
// and nothing of it ends the gateway or spoils its records.
#include <gtest/gtest.h>

#include "contract/snapshot_json.h"
#include "tests/gateway/edge_harness.h"

namespace sluice::gateway {
namespace {

using contract::Outcome;
using contract::Unit;
using net::Request;
using net::Responder;
using net::ServerThread;

// At the highest prices that are valid.
contract::Snapshot dear_snapshot(uint16_t port) {
  contract::Snapshot snapshot = edge_snapshot({port});
  snapshot.models[0].context_tokens = 0;
  for (contract::Rate& rate : snapshot.prices[0].rates) rate = {1'000'000'000'000'000};
  snapshot.prices[0].rates[static_cast<size_t>(Unit::kComputeMicrosecond)] = {10'000'000'000'000};
  EXPECT_TRUE(contract::validate(snapshot).empty());
  return snapshot;
}

// What is more than any machine computes ends no gateway, at no price.
TEST(EdgeExtremes, TheLargestRequestFitsTheHighestPrice) {
  ServerThread upstream(
      [](const Request&, Responder responder) { send_json(responder, 200, kAnswer); });
  Edge edge(dear_snapshot(upstream.port()), {.request_max_ns = 86'400'000'000'000});
  std::string prompts = "\"a\"";
  for (int i = 1; i < 100'000; ++i) prompts += ",\"a\"";
  const std::string body =
      fmt::format(R"({{"model":"m","prompt":[{}],"n":128,"max_tokens":{}}})", prompts, 1 << 30);
  EXPECT_EQ(edge.post(body, "/v1/completions").status, 200);
  EXPECT_GT(edge.records().events(1)[0].reserved.nano, INT64_C(600'000'000'000'000'000));
  edge.records().expect_balanced();
}

// Whatever it is: the journal has room for it, and a store takes it.
TEST(EdgeExtremes, AnUpstreamMayNameAnyFinishReason) {
  std::string reason;
  ServerThread upstream([&](const Request&, Responder responder) {
    std::string answer = kAnswer;
    answer.replace(answer.find("stop"), 4, reason);
    send_json(responder, 200, answer);
  });
  Edge edge(edge_snapshot({upstream.port()}));
  const std::pair<std::string, std::string> rows[] = {{"tool_calls", "tool_calls"},
                                                      {std::string(100'000, 'x'), "other"},
                                                      {"\xff\xfe", "other"},
                                                      {"a\\u0000b", "other"}};
  for (size_t i = 0; i < std::size(rows); ++i) {
    reason = rows[i].first;
    EXPECT_EQ(edge.post(kBody).status, 200);
    EXPECT_EQ(edge.records().events(i + 1).back().finish_reason, rows[i].second);
  }
  edge.records().expect_balanced();
}

// An empty statement is none: nobody gets an answer for nothing by it.
TEST(EdgeExtremes, AUsageThatCountsNothingIsMissing) {
  for (const char* usage : {"{}", R"({"total_tokens":9})", R"({"prompt_tokens":null})", "null",
                            R"({"prompt_tokens":9,"completion_tokens":-1})",
                            R"({"prompt_tokens":9,"completion_tokens":9007199254740992})",
                            R"({"prompt_tokens":9,"completion_tokens":1e30})",
                            R"({"prompt_tokens":9,"completion_tokens":99999999999999999999})"}) {
    ServerThread upstream([&](const Request&, Responder responder) {
      send_json(responder, 200,
                fmt::format(R"({{"choices":[{{"message":{{"content":"nine byte"}}}}],"usage":{}}})",
                            usage));
    });
    Edge edge(dear_snapshot(upstream.port()));
    EXPECT_EQ(edge.post(kBody).status, 200);
    const contract::UsageEvent event = edge.records().events(1)[0];
    EXPECT_EQ(event.outcome, Outcome::kCompleteUsageMissing) << usage;
    EXPECT_GT(quantity(event, Unit::kOutputToken), 0) << usage;
    EXPECT_GT(quantity(event, Unit::kPromptToken), 0) << usage;
  }
}

}  // namespace
}  // namespace sluice::gateway
