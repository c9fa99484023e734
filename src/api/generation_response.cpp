#include "api/generation_response.h"

namespace sluice::api {
namespace {

void write_usage(JsonWriter* json, const Usage& usage) {
  json->begin_object();
  json->key("prompt_tokens").integer(usage.prompt_tokens);
  json->key("completion_tokens").integer(usage.completion_tokens);
  json->key("total_tokens").integer(usage.prompt_tokens + usage.completion_tokens);
  json->key("prompt_tokens_details").begin_object();
  json->key("cached_tokens").integer(usage.cached_tokens);
  json->key("audio_tokens").integer(0);
  json->end_object();
  json->key("completion_tokens_details").begin_object();
  json->key("reasoning_tokens").integer(usage.reasoning_tokens);
  json->key("accepted_prediction_tokens").integer(usage.accepted_draft_tokens);
  json->key("rejected_prediction_tokens").integer(usage.rejected_draft_tokens);
  json->key("audio_tokens").integer(0);
  json->end_object().end_object();
}

void write_event_usage(JsonWriter* json, const EventUsage& usage) {
  if (usage.mode == EventUsage::Mode::kOmitted) return;
  json->key("usage");
  if (usage.mode == EventUsage::Mode::kNull)
    json->null();
  else
    write_usage(json, usage.usage);
}

void begin_answer(JsonWriter* json, const AnswerHead& head, std::string_view object) {
  json->begin_object();
  json->key("id").string(head.id);
  json->key("object").string(object);
  json->key("created").integer(head.created_s);
  json->key("model").string(head.model);
}

void write_finish(JsonWriter* json, const std::optional<Finish>& finish) {
  json->key("finish_reason");
  if (!finish) {
    json->null();
    return;
  }
  json->string(finish->reason == FinishReason::kStop ? "stop" : "length");
  json->key("stop_reason");
  if (const auto* text = std::get_if<std::string>(&finish->stop_reason))
    json->string(*text);
  else if (const auto* id = std::get_if<int64_t>(&finish->stop_reason))
    json->integer(*id);
  else
    json->null();
}

void write_chat_logprobs_field(JsonWriter* json, const Choice& choice) {
  json->key("logprobs");
  if (choice.logprobs)
    write_chat_logprobs(json, *choice.logprobs);
  else
    json->null();
}

void write_token_ids(JsonWriter* json, const Choice& choice) {
  if (!choice.token_ids) return;
  json->key("token_ids").begin_array();
  for (const int32_t id : *choice.token_ids) json->integer(id);
  json->end_array();
}

std::string_view name_of(ReasoningField field) {
  return field == ReasoningField::kReasoning ? "reasoning" : "reasoning_content";
}

constexpr std::string_view kChatObject = "chat.completion";
constexpr std::string_view kChatEvent = "chat.completion.chunk";
constexpr std::string_view kCompletionObject = "text_completion";  // events too

void write_completion_choice(JsonWriter* json, const Choice& choice) {
  json->begin_object();
  json->key("index").integer(choice.index);
  json->key("text").string(choice.text);
  json->key("logprobs");
  if (choice.logprobs)
    write_completion_logprobs(json, *choice.logprobs, choice.logprobs_offset);
  else
    json->null();
  write_token_ids(json, choice);
  write_finish(json, choice.finish);
  json->end_object();
}

std::string usage_event(const AnswerHead& head, const Usage& usage, std::string_view object) {
  JsonWriter json;
  begin_answer(&json, head, object);
  json.key("choices").begin_array().end_array().key("usage");
  write_usage(&json, usage);
  json.end_object();
  return json.take();
}

}  // namespace

std::string chat_json(const Answer& answer, ReasoningField field) {
  JsonWriter json;
  begin_answer(&json, answer.head, kChatObject);
  json.key("choices").begin_array();
  for (const Choice& choice : answer.choices) {
    json.begin_object();
    json.key("index").integer(choice.index);
    json.key("message").begin_object();
    json.key("role").string("assistant");
    json.key("content").string(choice.text);
    json.key("refusal").null();
    if (!choice.reasoning.empty()) json.key(name_of(field)).string(choice.reasoning);
    json.end_object();
    write_chat_logprobs_field(&json, choice);
    write_token_ids(&json, choice);
    write_finish(&json, choice.finish);
    json.end_object();
  }
  json.end_array().key("usage");
  write_usage(&json, answer.usage);
  json.end_object();
  return json.take();
}

std::string completion_json(const Answer& answer) {
  JsonWriter json;
  begin_answer(&json, answer.head, kCompletionObject);
  json.key("choices").begin_array();
  for (const Choice& choice : answer.choices) write_completion_choice(&json, choice);
  json.end_array().key("usage");
  write_usage(&json, answer.usage);
  json.end_object();
  return json.take();
}

std::string chat_role_event(const AnswerHead& head, int64_t index, const EventUsage& usage) {
  JsonWriter json;
  begin_answer(&json, head, kChatEvent);
  json.key("choices").begin_array().begin_object();
  json.key("index").integer(index);
  json.key("delta").begin_object();
  json.key("role").string("assistant").key("content").string("");
  json.end_object().key("logprobs").null().key("finish_reason").null();
  json.end_object().end_array();
  write_event_usage(&json, usage);
  json.end_object();
  return json.take();
}

std::string chat_event(const AnswerHead& head, const Choice& choice, const EventUsage& usage,
                       ReasoningField field) {
  JsonWriter json;
  begin_answer(&json, head, kChatEvent);
  json.key("choices").begin_array().begin_object();
  json.key("index").integer(choice.index);
  json.key("delta").begin_object();
  if (!choice.reasoning.empty()) json.key(name_of(field)).string(choice.reasoning);
  if (!choice.text.empty() || (choice.reasoning.empty() && choice.logprobs))
    json.key("content").string(choice.text);
  json.end_object();
  write_chat_logprobs_field(&json, choice);
  write_token_ids(&json, choice);
  write_finish(&json, choice.finish);
  json.end_object().end_array();
  write_event_usage(&json, usage);
  json.end_object();
  return json.take();
}

std::string completion_event(const AnswerHead& head, const Choice& choice,
                             const EventUsage& usage) {
  JsonWriter json;
  begin_answer(&json, head, kCompletionObject);
  json.key("choices").begin_array();
  write_completion_choice(&json, choice);
  json.end_array();
  write_event_usage(&json, usage);
  json.end_object();
  return json.take();
}

std::string chat_usage_event(const AnswerHead& head, const Usage& usage) {
  return usage_event(head, usage, kChatEvent);
}
std::string completion_usage_event(const AnswerHead& head, const Usage& usage) {
  return usage_event(head, usage, kCompletionObject);
}

}  // namespace sluice::api
