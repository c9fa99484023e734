#include <gtest/gtest.h>

#include "api/chat_request.h"
#include "api/completion_request.h"
#include "api/tokenize_request.h"

namespace sluice::api {
namespace {

std::string chat_with(const std::string& field) {
  return R"({"messages":[{"role":"user","content":"hi"}])" + (field.empty() ? "" : "," + field) +
         "}";
}

TEST(ChatRequest, DefaultsAreThoseOfOpenAi) {
  const auto request = parse_chat_request(chat_with(""), {});
  ASSERT_TRUE(request.ok()) << request.error().message;
  const GenerationFields& g = request.value().generation;
  EXPECT_EQ(g.sampling.temperature, 1.0);
  EXPECT_EQ(g.sampling.top_p, 1.0);
  EXPECT_EQ(g.sampling.top_k, 0);
  EXPECT_EQ(g.n, 1);
  EXPECT_FALSE(g.stopping.max_tokens.has_value());
  EXPECT_FALSE(g.streaming.stream);
  EXPECT_FALSE(request.value().logprobs);
}

TEST(ChatRequest, ReadsEveryField) {
  const auto parsed = parse_chat_request(R"({
    "model": "m", "messages": [
      {"role": "developer", "content": "be brief"},
      {"role": "user", "content": [{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role": "assistant", "content": null, "reasoning": "hm"},
      {"role": "user", "name": "eve", "content": ""}],
    "temperature": 0, "top_p": 0.5, "top_k": -1, "min_p": 0.1, "repetition_penalty": 1.1,
    "presence_penalty": -2, "frequency_penalty": 2, "logit_bias": {"5": -100, "7": 1.5},
    "seed": -4, "stop": ["x", "yz"], "stop_token_ids": [3], "max_tokens": 7,
    "max_completion_tokens": 9.0, "min_tokens": 2, "ignore_eos": true, "stream": true,
    "stream_options": {"include_usage": true, "continuous_usage_stats": true}, "n": 3,
    "logprobs": true, "top_logprobs": 20, "cache_salt": "s", "user": "u", "metadata": {"a": "b"},
    "store": true, "service_tier": "auto", "tools": [], "tool_choice": "none",
    "response_format": {"type": "text"}, "chat_template_kwargs": {"a": [1]},
    "enable_thinking": false, "reasoning_effort": "low", "something_else": {"x": 1}})",
                                         {});
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const ChatRequest& r = parsed.value();
  ASSERT_EQ(r.messages.size(), 4u);
  EXPECT_EQ(r.messages[0].role, "system");
  EXPECT_EQ(r.messages[1].content, "a\nb");
  EXPECT_EQ(r.messages[2].content, "");
  EXPECT_EQ(r.messages[2].reasoning_content, "hm");
  EXPECT_EQ(r.messages[3].name, "eve");
  const GenerationFields& g = r.generation;
  EXPECT_EQ(g.model, "m");
  EXPECT_EQ(g.sampling.temperature, 0);
  EXPECT_EQ(g.sampling.top_k, 0);
  ASSERT_EQ(g.sampling.logit_bias.size(), 2u);
  EXPECT_EQ(g.sampling.logit_bias[1], std::pair(7, 1.5f));
  EXPECT_EQ(g.sampling.seed, -4);
  EXPECT_EQ(g.stopping.stop, (std::vector<std::string>{"x", "yz"}));
  EXPECT_EQ(g.stopping.stop_token_ids, std::vector<int32_t>{3});
  EXPECT_EQ(g.stopping.max_tokens, 9);
  EXPECT_EQ(g.stopping.min_tokens, 2);
  EXPECT_TRUE(g.stopping.ignore_eos);
  EXPECT_TRUE(g.streaming.include_usage);
  EXPECT_TRUE(g.streaming.continuous_usage_stats);
  EXPECT_EQ(g.n, 3);
  EXPECT_EQ(r.top_logprobs, 20);
  EXPECT_EQ(g.cache_salt, "s");
  std::string variables;
  append_json(&variables, r.template_variables);
  EXPECT_EQ(variables, R"({"a":[1],"enable_thinking":false,"reasoning_effort":"low"})");
}

struct BadField {
  std::string field;  // added to a good request
  std::string param;
};

const BadField kBadChatFields[] = {
    {R"("temperature":"1")", "temperature"},
    {R"("temperature":-0.1)", "temperature"},
    {R"("temperature":2.1)", "temperature"},
    {R"("top_p":0)", "top_p"},
    {R"("top_p":1.5)", "top_p"},
    {R"("top_k":-2)", "top_k"},
    {R"("top_k":1.5)", "top_k"},
    {R"("min_p":2)", "min_p"},
    {R"("repetition_penalty":0)", "repetition_penalty"},
    {R"("presence_penalty":3)", "presence_penalty"},
    {R"("frequency_penalty":[])", "frequency_penalty"},
    {R"("logit_bias":[1])", "logit_bias"},
    {R"("logit_bias":{"x":1})", "logit_bias"},
    {R"("logit_bias":{"-1":1})", "logit_bias"},
    {R"("logit_bias":{"7":1,"07":1})", "logit_bias"},
    {R"("logit_bias":{"7 ":1})", "logit_bias"},
    {R"("logit_bias":{"1":101})", "logit_bias.1"},
    {R"("logit_bias":{"99999999999":1})", "logit_bias"},
    {R"("seed":"a")", "seed"},
    {R"("seed":18446744073709551615)", "seed"},
    {R"("stop":5)", "stop"},
    {R"("stop":[5])", "stop"},
    {R"("stop":"")", "stop"},
    {R"("stop":["a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a"])", "stop"},
    {R"("stop_token_ids":"1")", "stop_token_ids"},
    {R"("stop_token_ids":[-1])", "stop_token_ids"},
    {R"("max_tokens":0)", "max_tokens"},
    {R"("max_tokens":-5)", "max_tokens"},
    {R"("max_tokens":1e300)", "max_tokens"},
    {R"("max_tokens":true)", "max_tokens"},
    {R"("max_completion_tokens":"7")", "max_completion_tokens"},
    {R"("min_tokens":-1)", "min_tokens"},
    {R"("ignore_eos":1)", "ignore_eos"},
    {R"("stream":"yes")", "stream"},
    {R"("stream_options":{"include_usage":true})", "stream_options"},
    {R"("stream":true,"stream_options":[])", "stream_options"},
    {R"("stream":true,"stream_options":{"include_usage":1})", "stream_options.include_usage"},
    {R"("n":0)", "n"},
    {R"("n":17)", "n"},
    {R"("n":"2")", "n"},
    {R"("model":5)", "model"},
    {R"("logprobs":1)", "logprobs"},
    {R"("top_logprobs":1)", "top_logprobs"},
    {R"("logprobs":true,"top_logprobs":21)", "top_logprobs"},
    {R"("tools":[{"type":"function"}])", "tools"},
    {R"("tool_choice":"auto")", "tool_choice"},
    {R"("functions":[{}])", "functions"},
    {R"("response_format":{"type":"json_object"})", "response_format"},
    {R"("audio":{})", "audio"},
    {R"("modalities":["text","audio"])", "modalities"},
    {R"("prediction":{})", "prediction"},
    {R"("web_search_options":{})", "web_search_options"},
    {R"("best_of":2)", "best_of"},
    {R"("guided_json":{})", "guided_json"},
    {R"("chat_template":"x")", "chat_template"},
    {R"("chat_template_kwargs":3)", "chat_template_kwargs"},
    {R"("chat_template_kwargs":{"messages":[]})", "chat_template_kwargs"},
    {R"("enable_thinking":"no")", "enable_thinking"},
    {R"("cache_salt":1)", "cache_salt"},
    {R"("repeat_penalty":1.1)", "repeat_penalty"},
    {R"("typical_p":0.9)", "typical_p"},
    {R"("xtc_probability":0.5)", "xtc_probability"},
    {R"("dry_multiplier":0.8)", "dry_multiplier"},
    {R"("dynatemp_range":0.5)", "dynatemp_range"},
    {R"("top_n_sigma":1)", "top_n_sigma"},
    {R"("n_predict":128)", "n_predict"},
    {R"("n_probs":5)", "n_probs"},
    {R"("regex":"a+")", "regex"},
    {R"("ebnf":"")", "ebnf"},
    {R"("add_special_tokens":true)", "add_special_tokens"},
    {R"("samplers":["top_k","temperature"])", "samplers"},
    {R"("stop_regex":"[0-9]+")", "stop_regex"},
    {R"("custom_logit_processor":"x")", "custom_logit_processor"},
    {R"("lora":[{"id":0,"scale":0.5}])", "lora"},
    {R"("lora_path":"x")", "lora_path"},
    {R"("post_sampling_probs":true)", "post_sampling_probs"},
    {R"("return_hidden_states":true)", "return_hidden_states"},
    {R"("repetition_detection":{"max_pattern_size":4})", "repetition_detection"},
    {R"("t_max_predict_ms":500)", "t_max_predict_ms"},
    {R"("verbosity":"low")", "verbosity"},
    {R"("thinking":{"type":"disabled"})", "thinking"},
    {R"("thinking_token_budget":100)", "thinking_token_budget"},
    {R"("include_reasoning":false)", "include_reasoning"},
    {R"("separate_reasoning":false)", "separate_reasoning"},
};

TEST(ChatRequest, RefusesABadFieldByName) {
  for (const BadField& row : kBadChatFields) {
    const auto request = parse_chat_request(chat_with(row.field), {});
    ASSERT_FALSE(request.ok()) << row.field;
    EXPECT_EQ(request.error().status, 400) << row.field;
    EXPECT_EQ(request.error().param, row.param) << row.field;
    EXPECT_NE(request.error().message.find("'" + row.param.substr(0, row.param.find('.'))),
              std::string::npos)
        << request.error().message;
  }
}

TEST(ChatRequest, SaysWhichNumberIsNoTokenId) {
  const auto negative = parse_chat_request(chat_with(R"("stop_token_ids":[5,-1])"), {});
  ASSERT_FALSE(negative.ok());
  EXPECT_EQ(negative.error().message,
            "'stop_token_ids[1]' is no token id: an integer from 0 is expected, found: -1");
  const auto text = parse_chat_request(chat_with(R"("stop_token_ids":["5"])"), {});
  ASSERT_FALSE(text.ok());
  EXPECT_NE(text.error().message.find("found: string"), std::string::npos) << text.error().message;
}

// Values with which they change nothing: clients of llama.cpp and vLLM send them unasked.
TEST(ChatRequest, TakesUnsupportedFieldsThatAskForNothing) {
  const auto request = parse_chat_request(
      chat_with(R"("repeat_penalty":1.0,"typical_p":1,"xtc_probability":0,"dry_multiplier":0.0,
                   "dynatemp_range":0,"top_n_sigma":-1,"n_predict":-1,"n_probs":0,"regex":null,
                   "add_special_tokens":false,"samplers":[],"lora":[],"post_sampling_probs":false,
                   "return_hidden_states":false,"t_max_predict_ms":0,"verbosity":"medium",
                   "thinking_token_budget":-1,"include_reasoning":true,"separate_reasoning":true)"),
      {});
  EXPECT_TRUE(request.ok()) << request.error().message;
}

TEST(ChatRequest, RefusesBadMessagesByPath) {
  const BadField rows[] = {
      {"{}", "messages"},
      {R"({"messages":null})", "messages"},
      {R"({"messages":{}})", "messages"},
      {R"({"messages":[]})", "messages"},
      {R"({"messages":["x"]})", "messages[0]"},
      {R"({"messages":[{"content":"x"}]})", "messages[0].role"},
      {R"({"messages":[{"role":"boss","content":"x"}]})", "messages[0].role"},
      {R"({"messages":[{"role":"tool","content":"x"}]})", "messages[0].role"},
      {R"({"messages":[{"role":"user"}]})", "messages[0].content"},
      {R"({"messages":[{"role":"user","content":5}]})", "messages[0].content"},
      {R"({"messages":[{"role":"user","content":["x"]}]})", "messages[0].content[0]"},
      {R"({"messages":[{"role":"user","content":[{"text":"x"}]}]})", "messages[0].content[0].type"},
      {R"({"messages":[{"role":"user","content":[{"type":"text"}]}]})",
       "messages[0].content[0].text"},
      {R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})",
       "messages[0].content[0]"},
      {R"({"messages":[{"role":"assistant","content":"","tool_calls":[{}]}]})",
       "messages[0].tool_calls"},
  };
  for (const BadField& row : rows) {
    const auto request = parse_chat_request(row.field, {});
    ASSERT_FALSE(request.ok()) << row.field;
    EXPECT_EQ(request.error().param, row.param) << request.error().message;
  }
  EXPECT_EQ(parse_chat_request("[]", {}).error().code, "invalid_json");
}

TEST(ChatRequest, LimitsHoldAtTheirEdge) {
  const auto stops = [](int64_t count) {
    std::string list = R"("stop":["a")";
    for (int64_t i = 1; i < count; ++i) list += R"(,"a")";
    return chat_with(list + "]");
  };
  EXPECT_TRUE(parse_chat_request(stops(3), {.stops_max = 3}).ok());
  EXPECT_FALSE(parse_chat_request(stops(4), {.stops_max = 3}).ok());
  EXPECT_TRUE(parse_chat_request(chat_with(R"("stop":"abc")"), {.stop_bytes_max = 3}).ok());
  EXPECT_FALSE(parse_chat_request(chat_with(R"("stop":"abcd")"), {.stop_bytes_max = 3}).ok());
  EXPECT_TRUE(parse_chat_request(chat_with(R"("n":5)"), {.n_max = 5}).ok());
  EXPECT_FALSE(parse_chat_request(chat_with(R"("n":6)"), {.n_max = 5}).ok());
  EXPECT_TRUE(parse_chat_request(chat_with(""), {.messages_max = 1}).ok());
  EXPECT_FALSE(parse_chat_request(chat_with(""), {.messages_max = 0}).ok());
  const std::string ids = chat_with(R"("stop_token_ids":[1,2,3])");
  EXPECT_TRUE(parse_chat_request(ids, {.stop_token_ids_max = 3}).ok());
  EXPECT_EQ(parse_chat_request(ids, {.stop_token_ids_max = 2}).error().param, "stop_token_ids");
  const std::string biases = chat_with(R"("logit_bias":{"1":1,"2":1,"3":1})");
  EXPECT_TRUE(parse_chat_request(biases, {.logit_biases_max = 3}).ok());
  EXPECT_EQ(parse_chat_request(biases, {.logit_biases_max = 2}).error().param, "logit_bias");
  const std::string top = chat_with(R"("logprobs":true,"top_logprobs":3)");
  EXPECT_TRUE(parse_chat_request(top, {.top_logprobs_max = 3}).ok());
  EXPECT_EQ(parse_chat_request(top, {.top_logprobs_max = 2}).error().param, "top_logprobs");
}

TEST(CompletionRequest, TakesEveryFormOfPrompt) {
  const auto prompts = [](const std::string& prompt) {
    const auto request = parse_completion_request(R"({"prompt":)" + prompt + "}", {});
    return request.ok() ? request.value().prompts : std::vector<Prompt>{};
  };
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(prompts(R"("a")"), std::vector<Prompt>{Prompt("a")});
  EXPECT_EQ(prompts(R"(["a","b"])"), (std::vector<Prompt>{Prompt("a"), Prompt("b")}));
  EXPECT_EQ(prompts("[1,2]"), std::vector<Prompt>{Prompt(Ids{1, 2})});
  EXPECT_EQ(prompts("[[1],[2,3]]"), (std::vector<Prompt>{Prompt(Ids{1}), Prompt(Ids{2, 3})}));
  EXPECT_EQ(prompts(R"("")"), std::vector<Prompt>{Prompt("")});
}

TEST(CompletionRequest, RefusesABadFieldByName) {
  const BadField rows[] = {
      {"{}", "prompt"},
      {R"({"prompt":[]})", "prompt"},
      {R"({"prompt":5})", "prompt"},
      {R"({"prompt":[1,"a"]})", "prompt"},
      {R"({"prompt":["a",1]})", "prompt[1]"},
      {R"({"prompt":[[1],[]]})", "prompt[1]"},
      {R"({"prompt":[1.5]})", "prompt"},
      {R"({"prompt":[-1]})", "prompt"},
      {R"({"prompt":"a","suffix":"b"})", "suffix"},
      {R"({"prompt":"a","logprobs":21})", "logprobs"},
      {R"({"prompt":"a","logprobs":true})", "logprobs"},
      {R"({"prompt":"a","echo":"b"})", "echo"},
      {R"({"prompt":"a","max_tokens":0})", "max_tokens"},
      {R"({"prompt":"a","best_of":3})", "best_of"},
  };
  for (const BadField& row : rows) {
    const auto request = parse_completion_request(row.field, {});
    ASSERT_FALSE(request.ok()) << row.field;
    EXPECT_EQ(request.error().param, row.param) << request.error().message;
  }
}

TEST(CompletionRequest, LimitsHoldAtTheirEdge) {
  const std::string prompts = R"({"prompt":["a","b","c"]})";
  EXPECT_TRUE(parse_completion_request(prompts, {.prompts_max = 3}).ok());
  EXPECT_EQ(parse_completion_request(prompts, {.prompts_max = 2}).error().param, "prompt");
}

TEST(CompletionRequest, DefaultsAndEcho) {
  EXPECT_EQ(parse_completion_request(R"({"prompt":"a"})", {})->generation.stopping.max_tokens, 16);
  const auto scoring =
      parse_completion_request(R"({"prompt":"a","echo":true,"max_tokens":0,"logprobs":0})", {});
  ASSERT_TRUE(scoring.ok());
  EXPECT_EQ(scoring.value().generation.stopping.max_tokens, 0);
  EXPECT_EQ(scoring.value().logprobs, 0);
}

TEST(TokenizeRequest, PromptOrMessages) {
  EXPECT_EQ(parse_tokenize_request(R"({"prompt":"a"})", {})->prompt, "a");
  EXPECT_TRUE(parse_tokenize_request(chat_with(""), {})->chat.has_value());
  EXPECT_EQ(parse_tokenize_request("{}", {}).error().param, "prompt");
  EXPECT_EQ(parse_detokenize_request(R"({"tokens":[1,2]})", 2)->token_ids,
            (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(parse_detokenize_request(R"({"tokens":[1,2]})", 1).error().param, "tokens");
  EXPECT_EQ(parse_detokenize_request("{}", 1).error().param, "tokens");
}

}  // namespace
}  // namespace sluice::api
