#include "api/chat_request.h"

#include <limits>

#include <fmt/format.h>

#include "api/field_reader.h"

namespace sluice::api {
namespace {

bool is_true(const Json& value) {
  const bool* boolean = value.as<bool>();
  return boolean != nullptr && *boolean;
}

bool is_medium_text(const Json& value) {  // OpenAI's default
  const auto* text = value.as<std::string>();
  return text != nullptr && *text == "medium";
}

constexpr UnsupportedField kUnsupported[] = {
    {"tools", is_empty_list_or_object, "tool calls are"},
    {"tool_choice", is_none_text, "tool calls are"},
    {"functions", is_empty_list_or_object, "tool calls are"},
    {"function_call", is_none_text, "tool calls are"},
    {"audio", never, "audio is"},
    {"modalities", is_text_modality, "output other than text is"},
    {"prediction", never, "predicted output is"},
    {"web_search_options", never, "web search is"},
    {"documents", is_empty_list_or_object, "retrieved documents are"},
    {"chat_template", never, "a template of the request's own is"},
    {"continue_final_message", is_false, "continuing the last message is"},
    {"echo", is_false, "echo is (it is with /v1/completions)"},
    {"add_special_tokens", is_false, "adding special tokens to what the template renders is"},
    {"mm_processor_kwargs", is_empty_list_or_object, "input other than text is"},
    {"verbosity", is_medium_text, "choosing how verbose answers are is"},
    {"thinking", never, "switching thoughts by an object is (use enable_thinking)"},
    {"thinking_token_budget", is_minus_one, "a limit of thoughts is"},
    {"include_reasoning", is_true, "leaving thoughts out of the answer is"},
    {"separate_reasoning", is_true, "mixing thoughts into the answer is (use --reasoning off)"},
};

constexpr UnsupportedField kUnsupportedInMessage[] = {
    {"tool_calls", is_empty_list_or_object, "tool calls are"},
    {"function_call", never, "tool calls are"},
    {"tool_call_id", never, "tool calls are"},
    {"audio", never, "audio is"},
};

Parsed<std::string> parse_part(const Json& part, const std::string& path) {
  if (part.as<Json::Object>() == nullptr)
    return invalid_field(path, fmt::format("'{}' must be an object with a 'type', found: {}", path,
                                           part.type_name()));
  const FieldReader fields(part, path + ".");
  const auto type = TRY(fields.string("type"));
  if (!type) return invalid_field(path + ".type", fmt::format("'{}.type' is missing", path));
  if (*type != "text")
    return unsupported_field(
        path, fmt::format("'{}': content of type '{}' is not supported, only 'text'", path, *type));
  auto text = TRY(fields.string("text"));
  if (!text) return invalid_field(path + ".text", fmt::format("'{}.text' is missing", path));
  return std::move(*text);
}

Parsed<std::string> parse_content(const FieldReader& fields, std::string_view role) {
  const Json* json = fields.find("content");
  const std::string path = fields.path_of("content");
  if (json == nullptr) {
    if (role == "assistant") return std::string();
    return invalid_field(path, fmt::format("'{}' is missing", path));
  }
  if (const auto* text = json->as<std::string>()) return *text;
  const auto* parts = json->as<Json::Array>();
  if (parts == nullptr)
    return fields.wrong_type("content", "a string or a list of text parts", *json);
  std::string joined;
  for (size_t i = 0; i < parts->size(); ++i) {
    if (i > 0) joined += '\n';
    joined += TRY(parse_part((*parts)[i], fmt::format("{}[{}]", path, i)));
  }
  return joined;
}

Parsed<ChatMessage> parse_message(const Json& json, const std::string& path) {
  if (json.as<Json::Object>() == nullptr)
    return invalid_field(path,
                         fmt::format("'{}' must be an object, found: {}", path, json.type_name()));
  const FieldReader fields(json, path + ".");
  const auto role = TRY(fields.string("role"));
  if (!role) return invalid_field(path + ".role", fmt::format("'{}.role' is missing", path));
  if (*role == "tool" || *role == "function")
    return unsupported_field(path + ".role",
                             fmt::format("'{}.role': tool calls are not supported", path));
  if (*role != "system" && *role != "developer" && *role != "user" && *role != "assistant")
    return invalid_field(path + ".role", fmt::format("'{}.role' must be system, developer, user or "
                                                     "assistant, found: '{}'",
                                                     path, *role));
  TRY(refuse_unsupported(fields, kUnsupportedInMessage));
  ChatMessage message;
  message.role = *role == "developer" ? "system" : *role;
  message.content = TRY(parse_content(fields, message.role));
  message.name = TRY(fields.string("name"));
  message.reasoning_content = TRY(fields.string("reasoning_content"));
  if (!message.reasoning_content) message.reasoning_content = TRY(fields.string("reasoning"));
  return message;
}

Parsed<std::vector<ChatMessage>> parse_messages(const FieldReader& fields,
                                                const RequestLimits& limits) {
  const Json* json = fields.find("messages");
  if (json == nullptr) return invalid_field("messages", "'messages' is missing");
  const auto* array = json->as<Json::Array>();
  if (array == nullptr) return fields.wrong_type("messages", "a list of messages", *json);
  if (array->empty()) return invalid_field("messages", "'messages' must hold at least one message");
  if (static_cast<int64_t>(array->size()) > limits.messages_max)
    return invalid_field("messages", fmt::format("'messages' has {} items, at most {} are allowed",
                                                 array->size(), limits.messages_max));
  std::vector<ChatMessage> messages;
  for (const Json& item : *array)
    messages.push_back(TRY(parse_message(item, fmt::format("messages[{}]", messages.size()))));
  return messages;
}

Parsed<Json> parse_template_variables(const FieldReader& fields) {
  Json::Object variables;
  if (const Json* json = fields.find("chat_template_kwargs")) {
    const auto* object = json->as<Json::Object>();
    if (object == nullptr) return fields.wrong_type("chat_template_kwargs", "an object", *json);
    for (const auto& [key, value] : *object) {
      if (key == "messages" || key == "tools" || key == "add_generation_prompt")
        return invalid_field(
            "chat_template_kwargs",
            fmt::format("'chat_template_kwargs.{}' would replace what the request says itself",
                        key));
      variables.push_back({key, value});
    }
  }
  const auto add = [&](std::string_view key, Json value) {
    for (const auto& [present, unused] : variables)
      if (present == key) return;
    variables.push_back({std::string(key), std::move(value)});
  };
  if (const auto thinking = TRY(fields.boolean("enable_thinking")))
    add("enable_thinking", Json{*thinking});
  if (const auto effort = TRY(fields.string("reasoning_effort")))
    add("reasoning_effort", Json{*effort});
  return Json{std::move(variables)};
}

}  // namespace

Parsed<ChatRequest> parse_chat_request(std::string_view body, const RequestLimits& limits) {
  const Json json = TRY(parse_json_object(body));
  const FieldReader fields(json);
  TRY(refuse_unsupported(fields, kUnsupported));
  ChatRequest request;
  request.generation = TRY(parse_generation_fields(json, limits));
  request.messages = TRY(parse_messages(fields, limits));
  request.template_variables = TRY(parse_template_variables(fields));
  request.add_generation_prompt = TRY(fields.boolean("add_generation_prompt")).value_or(true);
  request.logprobs = TRY(fields.boolean("logprobs")).value_or(false);
  const auto top =
      TRY(fields.integer("top_logprobs", {.least = 0, .most = limits.top_logprobs_max}));
  request.top_logprobs = top.value_or(0);
  if (request.top_logprobs > 0 && !request.logprobs)
    return invalid_field("top_logprobs", "'top_logprobs' is only allowed with 'logprobs': true");
  constexpr IntegerRange kTokens = {.least = 1, .most = std::numeric_limits<int32_t>::max()};
  const auto old_name = TRY(fields.integer("max_tokens", kTokens));
  const auto new_name = TRY(fields.integer("max_completion_tokens", kTokens));
  request.generation.stopping.max_tokens = new_name ? new_name : old_name;
  return request;
}

}  // namespace sluice::api
