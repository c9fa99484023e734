// What reaches the upstream, what comes back, and the one event that each request ends in.
#include <atomic>
#include <future>
#include <mutex>
#include <set>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/sse.h"
#include "tests/gateway/edge_harness.h"

namespace sluice::gateway {
namespace {

using contract::Outcome;
using contract::Unit;
using net::Request;
using net::Responder;
using net::ServerThread;
using ::testing::HasSubstr;
using ::testing::Not;

void start_events(Responder& responder) {
  const net::Header headers[] = {{"Content-Type", "text/event-stream"}};
  responder.start_stream(200, headers);
}

std::string chunk(std::string_view content, std::string_view more = "") {
  return fmt::format(
      "data: {{\"id\":\"c-1\",\"created\":1,\"choices\":[{{\"index\":0,\"delta\":{{\"content\":"
      "\"{}\"}}{},\"finish_reason\":null}}],\"usage\":null}}\n\n",
      content, more);
}
constexpr char kFinish[] =
    "data: {\"id\":\"c-1\",\"created\":1,\"choices\":[{\"index\":0,\"delta\":{},"
    "\"finish_reason\":\"stop\"}],\"usage\":null}\n\n";
constexpr char kUsage[] =
    "data: {\"id\":\"c-1\",\"created\":1,\"choices\":[],\"usage\":{\"prompt_tokens\":9,"
    "\"completion_tokens\":2,\"total_tokens\":11}}\n\n";

TEST(EdgeProxy, AWholeAnswerPassesAndIsBilled) {
  ServerThread upstream(
      [](const Request&, Responder responder) { send_json(responder, 200, kAnswer); });
  Edge edge(edge_snapshot({upstream.port()}));
  const net::Response response = edge.post(kBody);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, kAnswer);
  EXPECT_EQ(header_of(response, "x-sluice-replica"), "r0");
  EXPECT_THAT(header_of(response, "x-sluice-decision"), HasSubstr("local"));
  // 15 · 2 + 5 · 1 + 30 · 10 nano-units
  EXPECT_EQ(header_of(response, "x-sluice-cost"), "0.000000335");
  EXPECT_EQ(header_of(response, "x-secret"), "");
  const contract::UsageEvent event = edge.records().events(1)[0];
  EXPECT_EQ(event.outcome, Outcome::kComplete);
  EXPECT_EQ(event.finish_reason, "stop");
  EXPECT_EQ(quantity(event, Unit::kPromptToken), 15);
  EXPECT_EQ(quantity(event, Unit::kCachedPromptToken), 5);
  EXPECT_EQ(quantity(event, Unit::kOutputToken), 30);
  edge.records().expect_balanced();
}

// As its client says; but only ids that were given out here, each of which the store knows anyway.
TEST(EdgeProxy, ARequestMayNameItsParent) {
  ServerThread upstream(
      [](const Request&, Responder responder) { send_json(responder, 200, kAnswer); });
  Edge edge(edge_snapshot({upstream.port()}));
  const std::string first = header_of(edge.post(kBody), "x-request-id");
  edge.post(kBody, "/v1/chat/completions", {{"X-Sluice-Parent", first}});
  std::string foreign = first;
  foreign[4] = foreign[4] == '0' ? '1' : '0';
  edge.post(kBody, "/v1/chat/completions", {{"x-sluice-parent", foreign}});
  edge.post(kBody, "/v1/chat/completions", {{"x-sluice-parent", "req_1"}});
  const std::vector<contract::UsageEvent> events = edge.records().events(4);
  EXPECT_EQ(to_text(events[0].id), first);
  EXPECT_EQ(events[1].parent, events[0].id);
  for (const size_t none : {0, 2, 3}) EXPECT_EQ(events[none].parent, contract::RequestId{}) << none;
}

TEST(EdgeProxy, OnlyWhatMustChangeChanges) {
  std::promise<std::pair<std::string, std::string>> seen;
  ServerThread upstream([&](const Request& request, Responder responder) {
    std::string headers;
    for (const net::Header& header : request.headers)
      headers.append(header.name).append(": ").append(header.value).append("\n");
    seen.set_value({std::string(request.body), headers});
    send_json(responder, 200, kAnswer);
  });
  contract::Snapshot snapshot = edge_snapshot({upstream.port()});
  snapshot.replicas[0].upstream_model = "vendor/m-1";
  snapshot.replicas[0].secret = "engine";
  Edge edge(std::move(snapshot));
  constexpr char kAsked[] =
      "{ \"tools\" : [ {\"x\":1.50, \"y\":\"\\u00e9\"} ],\n\"model\":\t\"m\", \"messages\":"
      "[{\"role\":\"user\",\"content\":\"hi\"}], \"sluice\":{\"policy\":\"local_only\"},"
      "\"zzz\":null}";
  constexpr char kWanted[] =
      "{ \"tools\" : [ {\"x\":1.50, \"y\":\"\\u00e9\"} ],\n\"model\":\t\"vendor/m-1\", "
      "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}], \"zzz\":null}";
  edge.post(kAsked, "/v1/chat/completions",
            {{"X-Sluice-Key", "mine"},
             {"x-gateway-destination-endpoint", "evil"},
             {"X-LLM-D-Route", "evil"},
             {"openai-beta", "assistants"}});
  const auto [body, headers] = seen.get_future().get();
  EXPECT_EQ(body, kWanted);
  EXPECT_THAT(headers, HasSubstr("openai-beta: assistants\n"));
  EXPECT_THAT(headers, HasSubstr("authorization: Bearer engine-secret\n"));
  EXPECT_THAT(headers, HasSubstr("traceparent: 00-"));
  for (const char* hidden : {"evil", "mine", "sk-test"})
    EXPECT_THAT(headers, Not(HasSubstr(hidden)));
}

TEST(EdgeProxy, PathsStandBehindThatOfTheReplica) {
  std::promise<std::string> asked[3];
  size_t count = 0;
  ServerThread upstream([&](const Request& request, Responder responder) {
    asked[count++].set_value(std::string(request.path));
    send_json(responder, 200, kAnswer);
  });
  using contract::ReplicaKind;
  const std::tuple<ReplicaKind, const char*, const char*> rows[] = {
      {ReplicaKind::kOpenAi, "/api/paas/v4/", "/api/paas/v4/chat/completions"},
      {ReplicaKind::kSluice, "/engine/v1", "/engine/v1/chat/completions"},
      {ReplicaKind::kSluice, "", "/v1/chat/completions"}};
  for (size_t i = 0; i < std::size(rows); ++i) {
    const auto& [kind, path, wanted] = rows[i];
    contract::Snapshot snapshot = edge_snapshot({upstream.port()});
    snapshot.replicas[0].kind = kind;
    snapshot.replicas[0].url = fmt::format("http://127.0.0.1:{}{}", upstream.port(), path);
    EXPECT_EQ(Edge(snapshot).post(kBody).status, 200);
    EXPECT_EQ(asked[i].get_future().get(), wanted);
  }
}

// A replica is shown what it names now, and as what it is now.
TEST(EdgeProxy, AChangedSecretIsShownFromThenOn) {
  std::mutex mutex;
  std::string shown;
  ServerThread upstream([&](const Request& request, Responder responder) {
    {
      const std::lock_guard lock(mutex);
      shown = fmt::format("{}, {}", request.header("authorization").value_or("none"),
                          request.header("x-sluice-key").value_or("none"));
    }
    send_json(responder, 200, kAnswer);
  });
  contract::Snapshot snapshot = edge_snapshot({upstream.port()});
  Edge edge(snapshot);
  const auto shown_now = [&] {
    EXPECT_EQ(edge.post(kBody).status, 200);
    const std::lock_guard lock(mutex);
    return shown;
  };
  EXPECT_EQ(shown_now(), "none, none");
  snapshot.replicas[0].secret = "engine";
  edge.update(snapshot);
  EXPECT_EQ(shown_now(), "Bearer engine-secret, none");
  edge.take_secrets({{"engine", "rotated"}, {"other", "another"}});
  EXPECT_EQ(shown_now(), "Bearer rotated, none");
  snapshot.replicas[0].secret = "other";
  edge.update(snapshot);
  EXPECT_EQ(shown_now(), "Bearer another, none");
  snapshot.replicas[0].kind = contract::ReplicaKind::kSluice;
  edge.update(snapshot);
  EXPECT_EQ(shown_now(), "Bearer another, another");
  snapshot.replicas[0].kind = contract::ReplicaKind::kOpenAi;
  edge.update(snapshot);
  EXPECT_EQ(shown_now(), "Bearer another, none") << "a stranger is shown no engine's key";
}

TEST(EdgeProxy, AStreamPassesAndItsUsageChunkIsForThoseWhoAsked) {
  std::mutex mutex;
  std::string body;
  ServerThread upstream([&](const Request& request, Responder responder) {
    {
      const std::lock_guard lock(mutex);
      body = request.body;
    }
    start_events(responder);
    const std::string all =
        chunk("He") + ": ping\n\n" + chunk("llo") + kFinish + kUsage + std::string(net::kSseDone);
    for (char c : all) responder.write({&c, 1});  // events cut anywhere
    responder.finish();
  });
  Edge edge(edge_snapshot({upstream.port()}));
  EXPECT_EQ(edge.post(kStreamBody).body,
            chunk("He") + ": ping\n\n" + chunk("llo") + kFinish + std::string(net::kSseDone));
  {
    const std::lock_guard lock(mutex);
    EXPECT_THAT(body, HasSubstr("\"stream_options\":{\"include_usage\":true},"));
  }
  constexpr char kWithUsage[] =
      R"({"model":"m","messages":[{"role":"user","content":"x"}],"stream":true,)"
      R"("stream_options":{"include_usage":true}})";
  EXPECT_THAT(edge.post(kWithUsage).body, HasSubstr(kUsage));
  for (const contract::UsageEvent& event : edge.records().events(2)) {
    EXPECT_EQ(event.outcome, Outcome::kComplete);
    EXPECT_EQ(quantity(event, Unit::kOutputToken), 2);
    EXPECT_GT(event.ttft_ns, 0);
  }
  edge.records().expect_balanced();
}

TEST(EdgeProxy, WithoutUsageTheGatewayCounts) {
  ServerThread upstream([](const Request&, Responder responder) {
    start_events(responder);
    responder.write(chunk("a") + chunk("b") + chunk("c") + kFinish + std::string(net::kSseDone));
    responder.finish();
  });
  Edge edge(edge_snapshot({upstream.port()}));
  edge.post(kStreamBody);
  const contract::UsageEvent event = edge.records().events(1)[0];
  EXPECT_EQ(event.outcome, Outcome::kCompleteUsageMissing);
  EXPECT_EQ(quantity(event, Unit::kOutputToken), 3);
}

TEST(EdgeProxy, AWholeAnswerWithoutUsageIsCountedByItsText) {
  ServerThread upstream([](const Request&, Responder responder) {
    send_json(responder, 200,
              R"({"choices":[{"message":{"content":"nine byte","reasoning":"1234"}}]})");
  });
  Edge edge(edge_snapshot({upstream.port()}));
  EXPECT_EQ(edge.post(kBody).status, 200);
  const contract::UsageEvent event = edge.records().events(1)[0];
  EXPECT_EQ(event.outcome, Outcome::kCompleteUsageMissing);
  EXPECT_EQ(quantity(event, Unit::kOutputToken), 4);  // 13 bytes
}

TEST(EdgeProxy, AnErrorWithStatus200IsNoAnswer) {
  std::atomic<int> asked = 0;
  ServerThread bad([&](const Request&, Responder responder) {
    ++asked;
    send_json(responder, 200, R"({"error":{"message":"lost, at 10.0.0.1"},"usage":null})");
  });
  Edge edge(edge_snapshot({bad.port()}));
  const net::Response response = edge.post(kBody);
  EXPECT_EQ(response.status, 502);
  EXPECT_THAT(response.body, Not(HasSubstr("10.0.0.1")));
  const contract::UsageEvent event = edge.records().events(1)[0];
  EXPECT_EQ(event.outcome, Outcome::kUpstreamError);
  EXPECT_TRUE(event.lines.empty());
  EXPECT_EQ(asked, 1);
}

TEST(EdgeProxy, AnErrorWithStatus200IsTriedElsewhere) {
  std::atomic<int> asked = 0;
  ServerThread bad([&](const Request&, Responder responder) {
    ++asked;
    send_json(responder, 200, R"({"error":{"message":"lost"}})");
  });
  ServerThread good(
      [](const Request&, Responder responder) { send_json(responder, 200, kAnswer); });
  Edge edge(edge_snapshot({bad.port(), good.port()}));
  for (int i = 0; i < 8; ++i) EXPECT_EQ(edge.post(kBody).status, 200);
  EXPECT_GT(asked, 0);
  for (const contract::UsageEvent& event : edge.records().events(8))
    EXPECT_EQ(event.outcome, Outcome::kComplete);
  edge.records().expect_balanced();
}

TEST(EdgeProxy, AFailureBeforeTheFirstByteIsTriedElsewhere) {
  std::atomic<int> failed = 0;
  ServerThread bad([&](const Request&, Responder responder) {
    ++failed;
    failed % 2 == 0 ? send_json(responder, 500, "{}") : responder.abort();
  });
  ServerThread good(
      [](const Request&, Responder responder) { send_json(responder, 200, kAnswer); });
  Edge edge(edge_snapshot({bad.port(), good.port()}));
  for (int i = 0; i < 8; ++i) EXPECT_EQ(edge.post(kBody).status, 200);
  EXPECT_GT(failed, 0);
  for (const contract::UsageEvent& event : edge.records().events(8))
    EXPECT_EQ(event.outcome, Outcome::kComplete);
  edge.records().expect_balanced();
}

TEST(EdgeProxy, WhereNobodyAnswersTheErrorIsClear) {
  Edge edge(edge_snapshot({1}));  // nobody listens there
  const net::Response response = edge.post(kBody);
  EXPECT_TRUE(response.status == 502 || response.status == 503) << response.status;
  EXPECT_THAT(response.body, HasSubstr("\"error\""));
  EXPECT_EQ(edge.records().events(1)[0].outcome, Outcome::kUpstreamError);
  edge.records().expect_balanced();
}

TEST(EdgeProxy, TheUpstreamsOwnNoPassesButNotItsNoToUs) {
  std::atomic<int> status = 400;
  ServerThread upstream([&](const Request&, Responder responder) {
    send_json(responder, status, R"({"error":{"message":"no","code":"context_length_exceeded"}})");
  });
  Edge edge(edge_snapshot({upstream.port()}));
  const net::Response refused = edge.post(kBody);
  EXPECT_EQ(refused.status, 400);
  EXPECT_THAT(refused.body, HasSubstr("context_length_exceeded"));
  status = 401;
  EXPECT_EQ(edge.post(kBody).status, 502);
  for (const contract::UsageEvent& event : edge.records().events(2))
    EXPECT_TRUE(event.lines.empty());
}

// Of those that are busy, the first that will take it again.
TEST(EdgeProxy, ABusyReplicaSaysWhenToComeAgain) {
  const auto busy = [](const char* retry_after) {
    return [retry_after](const Request&, Responder responder) {
      const net::Header headers[] = {{"Retry-After", retry_after}};
      responder.send(429, headers, "{}");
    };
  };
  ServerThread sooner(busy("20"));
  ServerThread later(busy("40"));
  ServerThread vague(busy("Mon, 23 Nov 2026 16:00:00 GMT"));
  const auto retry_after = [](const std::vector<uint16_t>& ports) {
    const net::Response refused = Edge(edge_snapshot(ports)).post(kBody);
    EXPECT_EQ(refused.status, 503);
    return header_of(refused, "retry-after");
  };
  EXPECT_EQ(retry_after({later.port()}), "40");
  EXPECT_EQ(retry_after({later.port(), sooner.port()}), "20");
  EXPECT_EQ(retry_after({sooner.port(), later.port()}), "20");
  EXPECT_EQ(retry_after({vague.port()}), "1");
}

TEST(EdgeProxy, ASilentUpstreamTimesOut) {
  std::vector<Responder> held;
  ServerThread upstream([&](const Request&, Responder responder) { held.push_back(responder); });
  Edge edge(edge_snapshot({upstream.port()}), {.response_timeout_ns = 30 * net::kMs});
  EXPECT_EQ(edge.post(kBody).status, 504);
  EXPECT_EQ(edge.records().events(1)[0].outcome, Outcome::kTimedOut);
  upstream.destroy();
}

TEST(EdgeProxy, AClientThatGoesCancelsTheUpstream) {
  for (const bool after_first_token : {false, true}) {
    std::promise<void> asked;
    std::promise<void> closed;
    std::vector<Responder> held;
    ServerThread upstream([&](const Request&, Responder responder) {
      responder.on_close([&] { closed.set_value(); });
      if (after_first_token) {
        start_events(responder);
        responder.write(chunk("a"));
      }
      held.push_back(responder);
      asked.set_value();
    });
    Edge edge(edge_snapshot({upstream.port()}));
    net::RawClient client(edge.port());
    client.send(post_text(kStreamBody));
    asked.get_future().wait();
    if (after_first_token) client.read_until("\"a\"");
    EXPECT_EQ(edge.metrics().streaming.value(), after_first_token ? 1 : 0);
    client.close();
    const contract::UsageEvent event = edge.records().events(1)[0];
    EXPECT_EQ(event.outcome,
              after_first_token ? Outcome::kClientAbort : Outcome::kClientAbortBeforeFirstToken);
    EXPECT_EQ(quantity(event, Unit::kOutputToken), after_first_token ? 1 : 0);
    EXPECT_EQ(event.status, 499);
    EXPECT_EQ(edge.metrics().streaming.value(), 0);
    closed.get_future().wait();
    edge.records().expect_balanced();
    upstream.destroy();
  }
}

TEST(EdgeProxy, ARevokedKeyEndsItsStreams) {
  std::vector<Responder> held;
  ServerThread upstream([&](const Request&, Responder responder) {
    start_events(responder);
    responder.write(chunk("a"));
    held.push_back(responder);
  });
  contract::Snapshot snapshot = edge_snapshot({upstream.port()});
  Edge edge(snapshot);
  net::RawClient client(edge.port());
  client.send(post_text(kStreamBody));
  client.read_until("\"a\"");
  snapshot.keys[0].revoked = true;
  edge.update(snapshot);
  const std::string rest = client.read_until("0\r\n\r\n");
  EXPECT_THAT(rest, HasSubstr("data: {\"error\""));
  EXPECT_THAT(rest, HasSubstr("revoked"));
  EXPECT_THAT(rest, Not(HasSubstr("[DONE]")));
  EXPECT_EQ(edge.records().events(1)[0].outcome, Outcome::kKeyRevoked);
  EXPECT_EQ(edge.post(kBody).status, 401);
  upstream.destroy();
}

TEST(EdgeProxy, NothingIsSentThatCannotBeRecorded) {
  std::atomic<int> asked = 0;
  ServerThread upstream([&](const Request&, Responder responder) {
    ++asked;
    send_json(responder, 200, kAnswer);
  });
  Edge edge(edge_snapshot({upstream.port()}));
  edge.records().refuse_from_now_on();
  const net::Response response = edge.post(kBody);
  EXPECT_EQ(response.status, 503);
  EXPECT_NE(header_of(response, "retry-after-ms"), "");
  EXPECT_EQ(asked, 0);
}

TEST(EdgeProxy, LimitsSayWhenToComeAgain) {
  ServerThread upstream(
      [](const Request&, Responder responder) { send_json(responder, 200, kAnswer); });
  contract::Snapshot snapshot = edge_snapshot({upstream.port()});
  snapshot.keys[0].limits.requests_per_minute = 2;
  Edge edge(std::move(snapshot));
  EXPECT_EQ(header_of(edge.post(kBody), "x-ratelimit-remaining-requests"), "1");
  EXPECT_EQ(edge.post(kBody).status, 200);
  const net::Response refused = edge.post(kBody);
  EXPECT_EQ(refused.status, 429);
  EXPECT_THAT(refused.body, HasSubstr("rate_limit_exceeded"));
  EXPECT_GT(std::stoll("0" + header_of(refused, "retry-after-ms")), 25'000);
  EXPECT_EQ(edge.records().events(3)[2].outcome, Outcome::kRefused);
  edge.records().expect_balanced();
}

// Two engines that speak our extension: the first dies after two tokens.
TEST(EdgeProxy, AStreamSurvivesItsReplica) {
  std::mutex mutex;
  std::vector<std::string> bodies;
  const auto handler = [&](const Request& request, Responder responder) {
    const std::lock_guard lock(mutex);
    bodies.emplace_back(request.body);
    EXPECT_EQ(request.header("x-sluice-key").value_or(""), "engine-secret");
    start_events(responder);
    if (bodies.size() == 1) {
      responder.write(chunk("", ",\"token_ids\":[]") + chunk("a", ",\"token_ids\":[11]") +
                      chunk("b", ",\"token_ids\":[12,13]"));
      return responder.abort();
    }
    std::string rest = chunk("") + chunk("c", ",\"token_ids\":[14]") + kFinish +
                       "data: {\"id\":\"c-1\",\"created\":1,\"choices\":[],\"usage\":{\"prompt_"
                       "tokens\":9,\"completion_tokens\":4}}\n\n" +
                       std::string(net::kSseDone);
    for (size_t at; (at = rest.find("c-1")) != std::string::npos;) rest.replace(at, 3, "other");
    responder.write(rest);
    responder.finish();
  };
  ServerThread one(handler);
  ServerThread two(handler);
  contract::Snapshot snapshot = edge_snapshot({one.port(), two.port()});
  for (contract::Replica& replica : snapshot.replicas) {
    replica.kind = contract::ReplicaKind::kSluice;
    replica.secret = "engine";
  }
  Edge edge(std::move(snapshot));
  const net::Response response = edge.post(kStreamBody);
  EXPECT_EQ(response.body, chunk("") + chunk("a") + chunk("b") + chunk("c") + kFinish +
                               std::string(net::kSseDone));
  ASSERT_EQ(bodies.size(), 2U);
  EXPECT_THAT(bodies[0], Not(HasSubstr("resume_ids")));
  EXPECT_THAT(bodies[1], HasSubstr("\"resume_ids\":[11,12,13]"));
  const contract::UsageEvent event = edge.records().events(1)[0];
  EXPECT_EQ(event.outcome, Outcome::kComplete);
  EXPECT_EQ(quantity(event, Unit::kPromptToken), 9);
  EXPECT_EQ(quantity(event, Unit::kOutputToken), 4);
  std::set<std::string> replicas;
  for (const contract::UsageLine& line : event.lines) replicas.insert(line.replica);
  EXPECT_EQ(replicas.size(), 2U);
  edge.records().expect_balanced();
}

TEST(EdgeProxy, AForeignStreamThatBreaksEndsWithAnError) {
  ServerThread upstream([](const Request&, Responder responder) {
    start_events(responder);
    responder.write(chunk("a"));
    responder.abort();
  });
  Edge edge(edge_snapshot({upstream.port()}));
  const net::Response response = edge.post(kStreamBody);
  EXPECT_THAT(response.body, HasSubstr(chunk("a") + "data: {\"error\":"));
  EXPECT_THAT(response.body, Not(HasSubstr("[DONE]")));
  EXPECT_EQ(edge.records().events(1)[0].outcome, Outcome::kUpstreamError);
}

// Nothing but usage comes behind the last finish_reason.
TEST(EdgeProxy, AStreamThatBreaksBehindItsEndIsComplete) {
  for (const bool resumable : {false, true}) {
    std::atomic<int> asked = 0;
    const auto handler = [&](const Request&, Responder responder) {
      ++asked;
      start_events(responder);
      responder.write(chunk("a") + chunk("b") + kFinish);
      responder.abort();
    };
    ServerThread one(handler);
    ServerThread two(handler);
    contract::Snapshot snapshot = edge_snapshot({one.port(), two.port()});
    for (contract::Replica& replica : snapshot.replicas)
      if (resumable) replica.continuation = contract::Continuation::kFinalMessage;
    Edge edge(std::move(snapshot));
    EXPECT_EQ(edge.post(kStreamBody).body,
              chunk("a") + chunk("b") + kFinish + std::string(net::kSseDone));
    EXPECT_EQ(asked, 1);
    const contract::UsageEvent event = edge.records().events(1)[0];
    EXPECT_EQ(event.outcome, Outcome::kCompleteUsageMissing);
    EXPECT_EQ(event.finish_reason, "stop");
    EXPECT_EQ(quantity(event, Unit::kOutputToken), 2);
    edge.records().expect_balanced();
  }
}

// Who asked for the usage is told what is billed.
TEST(EdgeProxy, AStreamThatBreaksBehindItsEndSaysItsUsage) {
  const std::string first =
      "data: {\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"x\","
      "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
  ServerThread upstream([&](const Request&, Responder responder) {
    start_events(responder);
    responder.write(first + chunk("b") + kFinish);
    responder.abort();
  });
  Edge edge(edge_snapshot({upstream.port()}));
  std::string asked = kStreamBody;
  asked.insert(1, R"("stream_options":{"include_usage":true},)");
  const std::string body = edge.post(asked).body;
  const contract::UsageEvent event = edge.records().events(1)[0];
  EXPECT_EQ(event.outcome, Outcome::kCompleteUsageMissing);
  const int64_t prompt = quantity(event, Unit::kPromptToken);
  EXPECT_GT(prompt, 0);
  EXPECT_EQ(quantity(event, Unit::kOutputToken), 2);
  const std::string usage = fmt::format(
      "data: {{\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"x\","
      "\"choices\":[],\"usage\":{{\"prompt_tokens\":{},\"completion_tokens\":2,\"total_tokens\":{},"
      "\"prompt_tokens_details\":{{\"cached_tokens\":0}},"
      "\"completion_tokens_details\":{{\"reasoning_tokens\":0}}}}}}\n\n",
      prompt, prompt + 2);
  EXPECT_EQ(body, first + chunk("b") + kFinish + usage + std::string(net::kSseDone));
}

TEST(EdgeProxy, AStreamIsCompleteWhenAllOfItsChoicesAre) {
  ServerThread upstream([](const Request&, Responder responder) {
    start_events(responder);
    responder.write(chunk("a") + kFinish);
    responder.finish();
  });
  Edge edge(edge_snapshot({upstream.port()}));
  constexpr char kTwo[] =
      R"({"model":"m","messages":[{"role":"user","content":"hello"}],"stream":true,"n":2})";
  EXPECT_THAT(edge.post(kTwo).body, HasSubstr("data: {\"error\":"));
  EXPECT_THAT(edge.post(kStreamBody).body, HasSubstr("[DONE]"));
  const auto events = edge.records().events(2);
  EXPECT_EQ(events[0].outcome, Outcome::kUpstreamError);
  EXPECT_EQ(events[1].outcome, Outcome::kCompleteUsageMissing);
}

TEST(EdgeProxy, ModelsAreThoseTheKeyMayCall) {
  contract::Snapshot snapshot = edge_snapshot({});
  contract::Model other;
  other.id = "org/other";
  snapshot.models.push_back(other);
  snapshot.keys[0].models = {"org/other"};
  Edge edge(std::move(snapshot));
  const net::Response list = edge.get("/v1/models");
  EXPECT_THAT(list.body, HasSubstr("\"org/other\""));
  EXPECT_THAT(list.body, Not(HasSubstr("\"m\"")));
  EXPECT_EQ(edge.get("/v1/models/org/other").status, 200);
  EXPECT_EQ(edge.get("/v1/models/org%2Fother").status, 200);
  EXPECT_EQ(edge.get("/v1/models/m").status, 404);
  EXPECT_EQ(edge.post(kBody).status, 404);
}

}  // namespace
}  // namespace sluice::gateway
