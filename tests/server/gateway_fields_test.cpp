// The object "sluice": who may send it, and that a stream goes on where it was cut.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/rng.h"
#include "tests/server/running_api.h"

namespace sluice::server::testing {
namespace {

using nlohmann::json;

const std::string kChat = "/v1/chat/completions";
const std::string kCompletions = "/v1/completions";

json prompt_ids(uint64_t seed, int64_t tokens) {
  json ids = json::array();
  for (int64_t i = 0; i < tokens; ++i)
    ids.push_back(kFirstLetter +
                  static_cast<int32_t>(40 * core::random_unit(seed, static_cast<uint64_t>(i))));
  return ids;
}

json completion(int64_t max_tokens) {
  return {{"prompt", prompt_ids(1, 40)}, {"max_tokens", max_tokens}, {"temperature", 0}};
}

std::string code_of(const net::Response& response) {
  return json::parse(response.body)["error"]["code"].dump();
}

TEST(GatewayFields, AreTheGatewaysAlone) {
  const RunningApi api;
  const RunningApi without({.gateway_key = ""});
  json body = completion(2);
  body["sluice"] = {{"priority", 1}};
  EXPECT_EQ(api.post(kCompletions, body).status, 200);
  const net::Header wrong[] = {{"x-sluice-key", "a key that a test may knox"}};
  EXPECT_EQ(api.post(kCompletions, body, wrong).status, 401);
  EXPECT_EQ(code_of(api.post(kCompletions, body, wrong)), "\"invalid_gateway_key\"");
  EXPECT_EQ(api.post(kCompletions, body, {}).status, 401);
  EXPECT_EQ(without.post(kCompletions, body).status, 400);
  body.erase("sluice");
  EXPECT_EQ(api.post(kCompletions, body, wrong).status, 200) << "nothing is asked for with it";
}

TEST(GatewayFields, WhatIsWrongWithThemIsSaid) {
  const RunningApi api;
  struct Row {
    json fields;
    const char* param;
  };
  const Row rows[] = {
      {json::array(), "sluice"},
      {{{"prioritty", 1}}, "sluice.prioritty"},
      {{{"priority", 1001}}, "sluice.priority"},
      {{{"priority", "high"}}, "sluice.priority"},
      {{{"deadline_ms", -1}}, "sluice.deadline_ms"},
      {{{"target", 5}}, "sluice.target"},
      {{{"target", {{"ttft", 5}}}}, "sluice.target.ttft"},
      {{{"session", std::string(257, 's')}}, "sluice.session"},
      {{{"prompt_ids", {1, 99999}}}, "sluice.prompt_ids"},
      {{{"resume_ids", {99999}}}, "sluice.resume_ids"},
      {{{"resume_ids", {kFirstLetter, kEnd, kFirstLetter}}}, "sluice.resume_ids"},
      {{{"resume_ids", prompt_ids(2, 9)}}, "sluice.resume_ids"},
  };
  for (const Row& row : rows) {
    json body = completion(8);
    body["sluice"] = row.fields;
    const net::Response response = api.post(kCompletions, body);
    EXPECT_EQ(response.status, 400) << row.fields;
    EXPECT_EQ(json::parse(response.body)["error"]["param"], row.param) << row.fields;
  }
  json body = completion(8);
  body["sluice"] = {{"resume_ids", {kFirstLetter}}};
  for (const char* field : {"n", "logprobs"}) {
    json two = body;
    two[field] = 2;
    EXPECT_EQ(api.post(kCompletions, two).status, 400) << field;
  }
}

struct CutCase {
  std::string name;
  std::string path;
  json fields;
};

void PrintTo(const CutCase& test, std::ostream* out) {
  *out << test.name;
}

std::vector<CutCase> cut_cases() {
  std::vector<CutCase> cases;
  for (const auto& [name, path] : {std::pair{"chat", kChat}, std::pair{"completion", kCompletions}})
    for (int64_t seed = 0; seed < 4; ++seed) {
      const auto add = [&](const std::string& what, json fields) {
        if (seed > 0) fields.update({{"temperature", 1.0}, {"seed", seed}});
        if (seed == 0) fields["temperature"] = 0;
        cases.push_back({fmt::format("{}, {}, seed {}", name, what, seed), path, fields});
      };
      add("plain", json::object());
      add("stops", {{"stop", {"ab", "ca b", "é", "ddx"}}});
      add("stop text kept", {{"stop", {"bc", "a"}}, {"include_stop_str_in_output", true}});
      add("stop ids", {{"stop_token_ids", {kFirstLetter, kFirstLetter + 1}}});
      add("penalties", {{"frequency_penalty", 1.5},
                        {"presence_penalty", 0.5},
                        {"repetition_penalty", 1.2},
                        {"min_tokens", 12}});
      add("special text", {{"skip_special_tokens", false}, {"ignore_eos", true}});
    }
  return cases;
}

json streamed(const CutCase& test, json extension) {
  json body = test.fields;
  body.update(
      {{"max_tokens", 24}, {"stream", true}, {"stream_options", {{"include_usage", true}}}});
  json ids = prompt_ids(7, 37);
  if (test.path == kChat) {
    body["messages"] = {{{"role", "user"}, {"content", "the ids are given"}}};
    ids.push_back(kThink);  // the answer begins with thoughts
    extension["prompt_ids"] = ids;
  } else {
    body["prompt"] = ids;
  }
  extension["token_ids"] = true;
  body["sluice"] = std::move(extension);
  return body;
}

class Cut : public ::testing::TestWithParam<CutCase> {};

// Joined to what came before, the rest is the stream that was not cut: ids, text, end and usage.
TEST_P(Cut, AStreamGoesOnWhereItWasCut) {
  const CutCase& test = GetParam();
  const RunningApi api;
  const RunningApi other;
  const Stream whole = read_stream(api.post(test.path, streamed(test, json::object())).body);
  ASSERT_TRUE(whole.error.is_null()) << whole.error;
  const size_t chunks = whole.chunks.size();
  ASSERT_GE(chunks, 1u);
  EXPECT_EQ(whole.ids(0, chunks).size(), whole.usage["completion_tokens"]);
  for (size_t cut = 0; cut < chunks; ++cut) {  // who has the last one has the end
    const std::vector<int32_t> ids = whole.ids(0, cut);
    ASSERT_LE(whole.chunks[cut].ids.size(), 1u);
    if (ids.empty()) continue;
    const Stream rest =
        read_stream(other.post(test.path, streamed(test, {{"resume_ids", ids}})).body);
    ASSERT_TRUE(rest.error.is_null()) << rest.error;
    const size_t all = rest.chunks.size();
    EXPECT_EQ(whole.text(0, cut) + rest.text(0, all), whole.text(0, chunks)) << "cut " << cut;
    EXPECT_EQ(whole.reasoning(0, cut) + rest.reasoning(0, all), whole.reasoning(0, chunks))
        << "cut " << cut;
    std::vector<int32_t> joined = ids;
    const std::vector<int32_t> more = rest.ids(0, all);
    joined.insert(joined.end(), more.begin(), more.end());
    EXPECT_EQ(joined, whole.ids(0, chunks)) << "cut " << cut;
    EXPECT_EQ(rest.chunks.back().finish, whole.chunks.back().finish) << "cut " << cut;
    for (const char* count : {"prompt_tokens", "completion_tokens", "completion_tokens_details"})
      EXPECT_EQ(rest.usage[count], whole.usage[count]) << count << ", cut " << cut;
    for (const Chunk& chunk : rest.chunks) EXPECT_FALSE(chunk.names_the_role);
  }
}

INSTANTIATE_TEST_SUITE_P(Streams, Cut, ::testing::ValuesIn(cut_cases()));

TEST(TokenIds, AreInWholeAnswersToo) {
  const RunningApi api;
  json body = completion(5);
  EXPECT_FALSE(json::parse(api.post(kCompletions, body).body)["choices"][0].contains("token_ids"));
  body["sluice"] = {{"token_ids", true}};
  const json answer = json::parse(api.post(kCompletions, body).body);
  EXPECT_EQ(answer["choices"][0]["token_ids"].size(), answer["usage"]["completion_tokens"]);
}

int64_t cached_tokens(const net::Response& response) {
  return json::parse(response.body)["usage"]["prompt_tokens_details"]["cached_tokens"];
}

TEST(CacheSalt, TenantsShareNothing) {
  const RunningApi api;
  json body = completion(2);
  body["prompt"] = prompt_ids(3, 70);
  const auto ask = [&](const json& extension) {
    body["sluice"] = extension;
    return cached_tokens(api.post(kCompletions, body));
  };
  EXPECT_EQ(ask({{"cache_salt", "tenant a"}}), 0);
  EXPECT_EQ(ask({{"cache_salt", "tenant a"}}), 64);
  EXPECT_EQ(ask({{"cache_salt", "tenant b"}}), 0) << "another tenant's pages";
  EXPECT_EQ(ask(json::object()), 0) << "nobody's";
  body["cache_salt"] = "tenant a";
  EXPECT_EQ(ask(json::object()), 0) << "a client's salt is another word";
  EXPECT_EQ(ask({{"cache_salt", "tenant a"}}), 64) << "the gateway's holds";
}

TEST(Deadline, ARequestThatWaitedTooLongSaysSo) {
  const RunningApi api({.sequences_max = 1});
  json body = completion(200);
  body["ignore_eos"] = true;
  std::thread busy([&] { EXPECT_EQ(api.post(kCompletions, body).status, 200); });
  json late = completion(2);
  late["sluice"] = {{"deadline_ms", 0}};
  const net::Response response = api.post(kCompletions, late);
  EXPECT_EQ(response.status, 504);
  EXPECT_EQ(code_of(response), "\"deadline_exceeded\"");
  busy.join();
}

}  // namespace
}  // namespace sluice::server::testing
