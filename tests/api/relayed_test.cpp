// What a gateway reads of bodies that it passes on.
#include <gtest/gtest.h>

#include "api/json_scan.h"
#include "api/relayed_answer.h"
#include "api/relayed_request.h"

namespace sluice::api {
namespace {

RelayedRequest parsed(std::string_view body, RelayedKind kind = RelayedKind::kChat) {
  return RelayedRequestParser().parse(kind, body).value();
}

std::string changed(std::string_view body, const BodyChanges& changes = {}) {
  std::string out;
  change_body(body, parsed(body), changes, &out);
  return out;
}

TEST(RelayedRequest, SaysWhatTheGatewayAsks) {
  const RelayedRequest request = parsed(
      R"({"messages":[{"role":"user","content":"h\u00e9"},{"content":[{"type":"text","text":"x"}]}],)"
      R"("model":"m","n":3,"max_tokens":5,"max_completion_tokens":7,"tools":[{"a":"bcd"}]})");
  EXPECT_EQ(request.model, "m");
  EXPECT_FALSE(request.stream);
  EXPECT_EQ(request.choices, 3);
  EXPECT_EQ(request.output_tokens_max, 7);
  EXPECT_EQ(request.messages, 2);
  EXPECT_EQ(request.text_bytes, 4 + 3 + 4 + 1 + 3);  // user, hé, text, x, bcd
}

TEST(RelayedRequest, PromptsMayBeTextListsOrIds) {
  const auto prompt = [](std::string_view value) {
    return parsed(fmt::format(R"({{"model":"m","prompt":{}}})", value), RelayedKind::kCompletion);
  };
  EXPECT_EQ(prompt(R"("abc")").text_bytes, 3);
  EXPECT_EQ(prompt(R"(["ab","c"])").prompts, 2);
  EXPECT_EQ(prompt("[1,2,3]").text_bytes, 3);
  EXPECT_EQ(prompt("[1,2,3]").prompts, 1);
  EXPECT_EQ(prompt("[[1,2],[3]]").prompts, 2);
}

TEST(RelayedRequest, ChangesAsLittleAsItCan) {
  EXPECT_EQ(changed(R"({"model":"m","messages":[{}]})"), R"({"model":"m","messages":[{}]})");
  EXPECT_EQ(changed(R"({"model" : "m","messages":[{}]})", {.model = "a\"b"}),
            R"({"model" : "a\"b","messages":[{}]})");
  EXPECT_EQ(changed(R"({"messages":[{}]})", {.model = "a\"b"}),
            R"({"model":"a\"b","messages":[{}]})");
  EXPECT_EQ(
      changed(R"({"model":"m","messages":[{}],"stream":true})"),
      R"({"stream_options":{"include_usage":true},"model":"m","messages":[{}],"stream":true})");
  for (const char* options : {"null", "{}", "{ }", R"({"include_usage":false})",
                              R"({"include_usage":null})", R"({"include_usage":true})"})
    EXPECT_EQ(
        changed(fmt::format(
            R"({{"model":"m","stream":true,"stream_options":{},"messages":[{{}}]}})", options)),
        R"({"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{}]})");
  EXPECT_EQ(changed(R"({"model":"m","stream":true,"stream_options":{"x":1},"messages":[{}]})"),
            R"({"model":"m","stream":true,"stream_options":{"include_usage":true,"x":1},)"
            R"("messages":[{}]})");
}

TEST(RelayedRequest, TheClientsOwnObjectGoesAndOursComes) {
  constexpr std::string_view kWanted = R"({"model":"m","messages":[{}]})";
  EXPECT_EQ(changed(R"({"sluice":{},"model":"m","messages":[{}]})"), kWanted);
  EXPECT_EQ(changed(R"({"model":"m","sluice":{"session":"}"},"messages":[{}]})"), kWanted);
  EXPECT_EQ(changed(R"({"model":"m","messages":[{}],"sluice":null})"), kWanted);
  const int32_t ids[] = {1, 2};
  const RelayedExtension extension = {
      .ttft_ns = 1'500'000, .priority = 2, .cache_salt = "s", .resume_ids = ids, .token_ids = true};
  EXPECT_EQ(changed(kWanted, {.extension = &extension}),
            R"({"sluice":{"target":{"ttft_ms":1.5},"priority":2,"cache_salt":"s",)"
            R"("resume_ids":[1,2],"token_ids":true},"model":"m","messages":[{}]})");
}

TEST(RelayedRequest, ASaltOfOursTakesTheClientsPlace) {
  constexpr std::string_view kPlain = R"({"model":"m","messages":[{}]})";
  EXPECT_EQ(changed(kPlain, {.cache_salt = "ours"}),
            R"({"cache_salt":"ours","model":"m","messages":[{}]})");
  for (const char* theirs : {R"("a\"b")", R"("")", "null"}) {
    const std::string body = fmt::format(
        R"({{"model":"m", "cache_salt" : {} ,"messages":[{{"cache_salt":1}}]}})", theirs);
    EXPECT_EQ(changed(body, {.cache_salt = "ours"}),
              R"({"model":"m", "cache_salt" : "ours" ,"messages":[{"cache_salt":1}]})");
    EXPECT_EQ(changed(body), body) << "of replicas that are sent none it stays";
  }
  EXPECT_EQ(parsed(R"({"model":"m","cache_salt":"a\u0062","messages":[{}]})").cache_salt, "ab");
  EXPECT_EQ(parsed(R"({"model":"m","cache_salt":null,"messages":[{}]})").cache_salt, "");
  RelayedRequestParser parser;
  for (const char* wrong : {R"("cache_salt":1)", R"("cache_salt":["a"])",
                            R"("cache_salt":"a","cache_salt":"b")", R"("cache_sal\u0074":"a")"}) {
    const auto refused = parser.parse(
        RelayedKind::kChat, fmt::format(R"({{"model":"m",{},"messages":[{{}}]}})", wrong));
    EXPECT_FALSE(refused.ok()) << wrong;
  }
}

TEST(RelayedAnswer, FindsUsageWhereItStands) {
  std::vector<int32_t> ids;
  const RelayedAnswer answer = read_relayed_answer(
      R"( {"a":{"usage":{"prompt_tokens":1}},"b":"\"usage\":{","usage":{"prompt_tokens":9,)"
      R"("completion_tokens":4,"completion_tokens_details":{"reasoning_tokens":3}},"choices":[{)"
      R"("message":{"content":"x\\"},"finish_reason":"length","token_ids":[5,6]}]})",
      &ids);
  ASSERT_TRUE(answer.usage);
  EXPECT_EQ(answer.usage->prompt_tokens, 9);
  EXPECT_EQ(answer.usage->completion_tokens, 4);
  EXPECT_EQ(answer.usage->reasoning_tokens, 3);
  EXPECT_TRUE(answer.has_output);
  EXPECT_EQ(answer.finish_reason, "length");
  EXPECT_EQ(ids, (std::vector<int32_t>{5, 6}));
}

TEST(RelayedAnswer, ForeignNumbersStayInTheirRange) {
  std::vector<int32_t> ids;
  const auto usage = [&](std::string_view text) {
    return read_relayed_answer(fmt::format(R"({{"usage":{}}})", text), &ids).usage;
  };
  EXPECT_FALSE(usage("null"));
  EXPECT_FALSE(usage("5"));
  EXPECT_FALSE(usage(R"({"prompt_tokens":-5})"));
  EXPECT_FALSE(usage(R"({"prompt_tokens":99999999999999999999})"));
  ASSERT_TRUE(usage(R"({"prompt_tokens":2})"));
  EXPECT_EQ(
      usage(R"({"prompt_tokens":2,"prompt_tokens_details":{"cached_tokens":9}})")->cached_tokens,
      2);
}

// Every prefix of an answer is foreign bytes too.
TEST(RelayedAnswer, CutAnywhereItReadsNothingOutside) {
  constexpr std::string_view kWhole =
      R"({"id":"a","choices":[{"delta":{"content":"x\"y"},"token_ids":[1]}],"usage":{"prompt_tokens":1}})";
  for (size_t size = 0; size <= kWhole.size(); ++size) {
    const std::string copy(kWhole.substr(0, size));
    std::vector<int32_t> ids;
    read_relayed_answer(copy, &ids);
    with_identity(copy, {.id = "\"b\"", .created = "2"});
    without_token_ids(copy);
  }
  EXPECT_EQ(with_identity(R"({"id":"a","created":1,"x":2})", {.id = "\"b\"", .created = "2"}),
            R"({"id":"b","created":2,"x":2})");
}

TEST(RelayedAnswer, TokenIdsStayWithTheGateway) {
  EXPECT_EQ(without_token_ids(
                R"({"choices":[{"index":0,"token_ids":[1,2],"text":"\"token_ids\":[3]"},)"
                R"({"token_ids": [] , "index":1},{"token_ids":[4]},{"index":2 ,"token_ids":[]}]})"),
            R"({"choices":[{"index":0,"text":"\"token_ids\":[3]"},)"
            R"({ "index":1},{},{"index":2 }]})");
  EXPECT_EQ(without_token_ids(R"({"token_ids":[1]})"), R"({"token_ids":[1]})");
}

}  // namespace
}  // namespace sluice::api
