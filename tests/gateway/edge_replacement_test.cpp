// The last replica goes, another comes: who waits for it, and for how long.
#include <future>
#include <mutex>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/sse.h"
#include "tests/gateway/edge_harness.h"

namespace sluice::gateway {
namespace {

using contract::Outcome;
using ::testing::HasSubstr;

constexpr int64_t kSecondNs = 1'000'000'000;

std::string chunk(std::string_view content, int id) {
  return fmt::format(
      "data: {{\"id\":\"c-1\",\"created\":1,\"choices\":[{{\"index\":0,\"delta\":{{\"content\":"
      "\"{}\"}},\"token_ids\":[{}],\"finish_reason\":null}}]}}\n\n",
      content, id);
}
std::string passed_on(std::string_view content) {
  return fmt::format(
      "data: {{\"id\":\"c-1\",\"created\":1,\"choices\":[{{\"index\":0,\"delta\":{{\"content\":"
      "\"{}\"}},\"finish_reason\":null}}]}}\n\n",
      content);
}
constexpr std::string_view kFinish =
    "data: {\"id\":\"c-1\",\"created\":1,\"choices\":[{\"index\":0,\"delta\":{},"
    "\"finish_reason\":\"stop\"}]}\n\n";
constexpr std::string_view kUsage =  // the gateway's: the client did not ask for it
    "data: {\"id\":\"c-1\",\"created\":1,\"choices\":[],\"usage\":{\"prompt_tokens\":9,"
    "\"completion_tokens\":2}}\n\n";
constexpr std::string_view kDone = "data: [DONE]\n\n";

void start_events(net::Responder& responder) {
  const net::Header headers[] = {{"Content-Type", "text/event-stream"}};
  responder.start_stream(200, headers);
}

// An engine that dies after its first token, or goes on behind it.
struct Replaced : testing::Test {
  Replaced()
      : dying([](const net::Request&, net::Responder responder) {
          start_events(responder);
          responder.write(chunk("a", 11));
          responder.abort();
        }),
        next([this](const net::Request& request, net::Responder responder) {
          {
            const std::lock_guard lock(mutex);
            seen = request.body;
          }
          start_events(responder);
          responder.write(fmt::format("{}{}{}{}", chunk("b", 12), kFinish, kUsage, kDone));
          responder.finish();
        }) {}

  static contract::Snapshot engines(std::vector<uint16_t> ports, std::string_view id) {
    contract::Snapshot snapshot = edge_snapshot(ports);
    for (contract::Replica& replica : snapshot.replicas) {
      replica.id = id;
      replica.kind = contract::ReplicaKind::kSluice;
      replica.secret = "engine";
    }
    return snapshot;
  }
  static void wait_until_waiting(Edge& edge) {
    while (edge.metrics().waiting.value() == 0) std::this_thread::yield();
  }

  std::mutex mutex;
  std::string seen;
  net::ServerThread dying;
  net::ServerThread next;
};

TEST_F(Replaced, AStreamGoesOnAtTheOneThatComes) {
  Edge edge(engines({dying.port()}, "first"), {.replacement_wait_ns = 60 * kSecondNs});
  auto response = std::async(std::launch::async, [&] { return edge.post(kStreamBody); });
  wait_until_waiting(edge);
  edge.update(engines({next.port()}, "second"));
  EXPECT_EQ(response.get().body,
            fmt::format("{}{}{}{}", passed_on("a"), passed_on("b"), kFinish, kDone));
  EXPECT_THAT(seen, HasSubstr("\"resume_ids\":[11]"));
  EXPECT_EQ(edge.records().events(1)[0].outcome, Outcome::kComplete);
  edge.records().expect_balanced();
}

TEST_F(Replaced, ARequestWaitsForTheFirst) {
  contract::Snapshot starting = engines({next.port()}, "first");
  starting.replicas[0].state = contract::ReplicaState::kStarting;
  starting.replicas[0].url = "";
  Edge edge(starting, {.replacement_wait_ns = 60 * kSecondNs});
  EXPECT_EQ(edge.get("/health").status, 503);
  auto response = std::async(std::launch::async, [&] { return edge.post(kStreamBody); });
  wait_until_waiting(edge);
  edge.update(engines({next.port()}, "first"));
  EXPECT_EQ(response.get().body, fmt::format("{}{}{}", passed_on("b"), kFinish, kDone));
  EXPECT_EQ(edge.get("/health").status, 200);
}

TEST_F(Replaced, NobodyWaitsLongerThanTheLimit) {
  Edge edge(engines({dying.port()}, "first"), {.replacement_wait_ns = 1'000'000});
  EXPECT_THAT(edge.post(kStreamBody).body, HasSubstr(passed_on("a") + "data: {\"error\":"));
  edge.update(engines({}, ""));
  const net::Response refused = edge.post(kBody);
  EXPECT_EQ(refused.status, 503);
  EXPECT_NE(header_of(refused, "Retry-After"), "");
  EXPECT_EQ(edge.records().events(2)[0].outcome, Outcome::kUpstreamError);
  edge.records().expect_balanced();
}

}  // namespace
}  // namespace sluice::gateway
