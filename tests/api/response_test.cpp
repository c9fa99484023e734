#include <gtest/gtest.h>

#include "api/error.h"
#include "api/generation_response.h"
#include "api/model_list.h"

namespace sluice::api {
namespace {

const AnswerHead kHead = {.id = "chatcmpl-1", .created_s = 7, .model = "m"};
constexpr std::string_view kUsageJson =
    R"({"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,)"
    R"("prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},)"
    R"("completion_tokens_details":{"reasoning_tokens":1,"accepted_prediction_tokens":2,)"
    R"("rejected_prediction_tokens":3,"audio_tokens":0}})";
constexpr Usage kUsage = {.prompt_tokens = 5,
                          .completion_tokens = 2,
                          .cached_tokens = 4,
                          .reasoning_tokens = 1,
                          .accepted_draft_tokens = 2,
                          .rejected_draft_tokens = 3};

TEST(Error, IsTheWiresObject) {
  EXPECT_EQ(to_json(invalid_field("n", "too \"many\"")),
            R"({"error":{"message":"too \"many\"","type":"invalid_request_error","param":"n",)"
            R"("code":"invalid_value"}})");
  EXPECT_EQ(overloaded("busy", 3).retry_after_seconds, 3);
  EXPECT_EQ(overloaded("busy", 3).status, 503);
  EXPECT_EQ(from_status(431, "x").code, "header_too_large");
  EXPECT_EQ(from_status(418, "x").status, 418);
}

TEST(ChatAnswer, IsTheWiresObject) {
  const Answer answer = {
      .head = kHead,
      .choices = {{.text = "hi",
                   .reasoning = "hm",
                   .finish = Finish{.reason = FinishReason::kStop, .stop_reason = "x"}}},
      .usage = kUsage};
  EXPECT_EQ(chat_json(answer, ReasoningField::kReasoningContent),
            R"({"id":"chatcmpl-1","object":"chat.completion","created":7,"model":"m","choices":[)"
            R"({"index":0,"message":{"role":"assistant","content":"hi","refusal":null,)"
            R"("reasoning_content":"hm"},"logprobs":null,"finish_reason":"stop",)"
            R"("stop_reason":"x"}],"usage":)" +
                std::string(kUsageJson) + "}");
}

TEST(ChatEvent, CarriesWhatWasAdded) {
  EXPECT_EQ(chat_role_event(kHead, 1, {}),
            R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m",)"
            R"("choices":[{"index":1,"delta":{"role":"assistant","content":""},"logprobs":null,)"
            R"("finish_reason":null}]})");
  EXPECT_EQ(chat_event(kHead, {.text = "a"}, {.mode = EventUsage::Mode::kNull, .usage = {}},
                       ReasoningField::kReasoning),
            R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m",)"
            R"("choices":[{"index":0,"delta":{"content":"a"},"logprobs":null,)"
            R"("finish_reason":null}],"usage":null})");
  EXPECT_EQ(chat_event(kHead,
                       {.reasoning = "r",
                        .finish = Finish{.reason = FinishReason::kLength, .stop_reason = {}}},
                       {}, ReasoningField::kReasoning),
            R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m",)"
            R"("choices":[{"index":0,"delta":{"reasoning":"r"},"logprobs":null,)"
            R"("finish_reason":"length","stop_reason":null}]})");
  EXPECT_EQ(chat_usage_event(kHead, kUsage),
            R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m",)"
            R"("choices":[],"usage":)" +
                std::string(kUsageJson) + "}");
}

TEST(Logprobs, ChatKeepsBytesOfHalfCharacters) {
  JsonWriter json;
  write_chat_logprobs(&json, {{.token = {"\xe6\xb0", -0.5}, .top = {{"a", -1}}}});
  EXPECT_EQ(json.take(),
            "{\"content\":[{\"token\":\"\xef\xbf\xbd\xef\xbf\xbd\",\"logprob\":-0.5,"
            "\"bytes\":[230,176],\"top_logprobs\":[{\"token\":\"a\",\"logprob\":-1,\"bytes\":[97]}]"
            "}],\"refusal\":null}");
}

TEST(Logprobs, CompletionsCountCharactersAndNameHalfOnesByBytes) {
  JsonWriter json;
  const double infinity = std::numeric_limits<double>::infinity();
  write_completion_logprobs(&json,
                            {{.token = {"ä", 0}, .predicted = false, .top = {}},
                             {.token = {"\xe6", -2}, .top = {{"b", -1}, {"b", -3}}},
                             {.token = {"c", -infinity}, .top = {}}},
                            10);
  EXPECT_EQ(json.take(), R"({"text_offset":[10,11,12],"token_logprobs":[null,-2,-9999],)"
                         R"("tokens":["ä","bytes:\\xe6","c"],)"
                         R"("top_logprobs":[null,{"b":-1,"bytes:\\xe6":-2},{"c":-9999}]})");
}

TEST(ModelList, HasWhatClientsRead) {
  EXPECT_EQ(model_list_json({{.id = "m", .created_s = 3, .root = "f", .context_tokens_max = 9}}),
            R"({"object":"list","data":[{"id":"m","object":"model","created":3,)"
            R"("owned_by":"sluice","root":"f","parent":null,"max_model_len":9,"permission":[]}]})");
}

}  // namespace
}  // namespace sluice::api
