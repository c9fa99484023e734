// A foreign replica dies within a stream: another one goes on from the text that the client has,
// where it can, and the bill has lines of both; else the stream ends with an error.
#include <mutex>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/sse.h"
#include "tests/gateway/edge_harness.h"

namespace sluice::gateway {
namespace {

using contract::Continuation;
using contract::Outcome;
using contract::Unit;
using ::testing::HasSubstr;
using ::testing::Not;

std::string chunk(std::string_view delta, std::string_view id = "c-1") {
  return fmt::format(
      "data: {{\"id\":\"{}\",\"created\":1,\"choices\":[{{\"index\":0,\"delta\":{{{}}},"
      "\"finish_reason\":null}}]}}\n\n",
      id, delta);
}
std::string said(std::string_view text, std::string_view id = "c-1") {
  return chunk(fmt::format("\"content\":\"{}\"", text), id);
}
std::string finish(std::string_view id) {
  return fmt::format(
      "data: {{\"id\":\"{}\",\"created\":1,\"choices\":[{{\"index\":0,\"delta\":{{}},"
      "\"finish_reason\":\"stop\"}}]}}\n\n",
      id);
}
std::string usage(int prompt, int completion, std::string_view id = "c-1") {
  return fmt::format(
      "data: {{\"id\":\"{}\",\"created\":1,\"choices\":[],\"usage\":{{\"prompt_tokens\":{},"
      "\"completion_tokens\":{},\"total_tokens\":{}}}}}\n\n",
      id, prompt, completion, prompt + completion);
}

constexpr char kAsked[] =
    R"({"model":"m","messages":[{"role":"user","content":"hello"}],"max_tokens":8,"stream":true,)"
    R"("stream_options":{"include_usage":true}})";

// Two replicas: who is asked first says `first` and dies, who is asked then goes on.
struct Continued : testing::Test {
  explicit Continued(std::string said_first = said("He said \\\"") + said("a\\n"))
      : first(std::move(said_first)), one(handler()), two(handler()) {}

  net::Handler handler() {
    return [this](const net::Request& request, net::Responder responder) {
      const std::lock_guard lock(mutex);
      bodies.emplace_back(request.body);
      const net::Header headers[] = {{"Content-Type", "text/event-stream"}};
      responder.start_stream(200, headers);
      if (bodies.size() == 1) {
        responder.write(first);
        return responder.abort();
      }
      responder.write(fmt::format("{}{}{}{}{}", chunk("\"role\":\"assistant\"", "other"),
                                  said("b", "other"), finish("other"), usage(11, 1, "other"),
                                  net::kSseDone));
      responder.finish();
    };
  }
  contract::Snapshot snapshot(Continuation continuation) {
    contract::Snapshot snapshot = edge_snapshot({one.port(), two.port()});
    for (contract::Replica& replica : snapshot.replicas) replica.continuation = continuation;
    return snapshot;
  }
  std::string body(size_t i) {
    const std::lock_guard lock(mutex);
    return bodies.size() > i ? bodies[i] : "none";
  }

  std::mutex mutex;
  std::vector<std::string> bodies;
  std::string first;
  net::ServerThread one;
  net::ServerThread two;
};

int64_t quantity(const contract::UsageEvent& event, Unit unit, std::string_view replica) {
  int64_t sum = 0;
  for (const contract::UsageLine& line : event.lines)
    if (line.unit == unit && line.replica == replica && line.side != contract::LineSide::kCostOnly)
      sum += line.quantity;
  return sum;
}

TEST_F(Continued, InALastMessageThatIsLeftOpen) {
  Edge edge(snapshot(Continuation::kFinalMessage));
  EXPECT_EQ(edge.post(kAsked).body,
            first + said("b") + finish("c-1") + usage(9, 3) + std::string(net::kSseDone))
      << "one stream, with the usage of the whole of it";
  EXPECT_THAT(body(0), Not(HasSubstr("assistant")));
  EXPECT_THAT(body(1), HasSubstr(R"("add_generation_prompt":false,"continue_final_message":true)"));
  EXPECT_THAT(body(1), HasSubstr(R"({"role":"user","content":"hello"},)"
                                 R"({"role":"assistant","content":"He said \"a\n"}])"));
  EXPECT_THAT(body(1), HasSubstr(R"("max_tokens":6,)"));
  const contract::UsageEvent event = edge.records().events(1)[0];
  EXPECT_EQ(event.outcome, Outcome::kComplete);
  ASSERT_FALSE(event.lines.empty());
  const std::string dead = event.lines.front().replica;
  const std::string alive = dead == "r0" ? "r1" : "r0";
  EXPECT_EQ(quantity(event, Unit::kPromptToken, dead), 9) << "11 less the two that were said";
  EXPECT_EQ(quantity(event, Unit::kOutputToken, dead), 2);
  EXPECT_EQ(quantity(event, Unit::kPromptToken, alive), 0) << "who was failed pays no prompt twice";
  EXPECT_EQ(quantity(event, Unit::kOutputToken, alive), 1);
  int64_t owed_prompt = 0;
  for (const contract::UsageLine& line : event.lines)
    if (line.replica == alive && line.unit == Unit::kPromptToken) owed_prompt += line.quantity;
  EXPECT_EQ(owed_prompt, 11) << "its owner computed them";
  edge.records().expect_balanced();
}

TEST_F(Continued, InAMessageThatIsAPrefix) {
  Edge edge(snapshot(Continuation::kPrefix));
  EXPECT_THAT(edge.post(kAsked).body, HasSubstr(said("b")));
  EXPECT_THAT(body(1),
              HasSubstr(R"({"role":"assistant","content":"He said \"a\n","prefix":true}])"));
  EXPECT_THAT(body(1), Not(HasSubstr("continue_final_message")));
}

TEST_F(Continued, NotWhereNobodyCan) {
  Edge edge(snapshot(Continuation::kNone));
  const std::string answer = edge.post(kAsked).body;
  EXPECT_THAT(answer, HasSubstr(first + "data: {\"error\":"));
  EXPECT_THAT(answer, Not(HasSubstr("[DONE]")));
  EXPECT_EQ(body(1), "none");
  EXPECT_EQ(edge.records().events(1)[0].outcome, Outcome::kUpstreamError);
  edge.records().expect_balanced();
}

TEST_F(Continued, NotAnAnswerOfAPrescribedForm) {
  Edge edge(snapshot(Continuation::kFinalMessage));
  std::string asked = kAsked;
  asked.insert(1, R"("response_format":{"type":"json_object"},)");
  EXPECT_THAT(edge.post(asked).body, HasSubstr("data: {\"error\":"));
  EXPECT_EQ(body(1), "none");
}

struct ContinuedThoughts : Continued {
  ContinuedThoughts() : Continued(chunk(R"("reasoning_content":"hm")") + said("a")) {}
};
TEST_F(ContinuedThoughts, AreNoTextToGoOnBehind) {
  Edge edge(snapshot(Continuation::kFinalMessage));
  EXPECT_THAT(edge.post(kAsked).body, HasSubstr("data: {\"error\":"));
  EXPECT_EQ(body(1), "none");
}

struct ContinuedCompletion : Continued {
  ContinuedCompletion()
      : Continued(
            "data: {\"id\":\"c-1\",\"created\":1,\"choices\":[{\"index\":0,\"text\":\"x "
            "\\u00e9\",\"finish_reason\":null}]}\n\n") {}
};
TEST_F(ContinuedCompletion, HasALongerPrompt) {
  Edge edge(snapshot(Continuation::kPrefix));
  edge.post(R"({"model":"m","prompt":"Once \"","max_tokens":8,"stream":true})", "/v1/completions");
  EXPECT_THAT(body(1), HasSubstr(R"("prompt":"Once \"x \u00e9","max_tokens":7,)"));
}

}  // namespace
}  // namespace sluice::gateway
