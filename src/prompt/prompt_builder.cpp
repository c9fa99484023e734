#include "prompt/prompt_builder.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "tokenizer/decoder.h"

namespace sluice::prompt {
namespace {

using tokenizer::SurroundingIds;

constexpr std::string_view kPromptIds = "sluice.prompt_ids";
constexpr std::string_view kResumeIds = "sluice.resume_ids";

jinja::Value to_value(const api::Json& json) {
  if (const auto* boolean = json.as<bool>()) return jinja::Value::boolean(*boolean);
  if (const auto* integer = json.as<int64_t>()) return jinja::Value::integer(*integer);
  if (const auto* number = json.as<double>()) return jinja::Value::real(*number);
  if (const auto* text = json.as<std::string>()) return jinja::Value::string(*text);
  if (const auto* array = json.as<api::Json::Array>()) {
    std::vector<jinja::Value> items;
    for (const api::Json& item : *array) items.push_back(to_value(item));
    return jinja::Value::list(std::move(items));
  }
  if (const auto* object = json.as<api::Json::Object>()) {
    jinja::Dict dict;
    for (const auto& [key, item] : *object) dict.set(key, to_value(item));
    return jinja::Value::dict(std::move(dict));
  }
  return jinja::Value::none();
}

jinja::Value to_value(const std::vector<api::ChatMessage>& messages) {
  std::vector<jinja::Value> list;
  for (const api::ChatMessage& message : messages) {
    jinja::Dict dict;
    dict.set("role", jinja::Value::string(message.role));
    dict.set("content", jinja::Value::string(message.content));
    if (message.name) dict.set("name", jinja::Value::string(*message.name));
    if (message.reasoning_content)
      dict.set("reasoning_content", jinja::Value::string(*message.reasoning_content));
    list.push_back(jinja::Value::dict(std::move(dict)));
  }
  return jinja::Value::list(std::move(list));
}

jinja::Value text_of(const tokenizer::Vocabulary& vocabulary, tokenizer::TokenId id) {
  return jinja::Value::string(std::string(vocabulary.bytes(id)));
}

api::Error outside_vocabulary(std::string_view param, int64_t id, int64_t size) {
  return api::invalid_field(param, fmt::format("'{}' has the token id {}, the model's go from 0 to "
                                               "{}",
                                               param, id, size - 1));
}

}  // namespace

api::Parsed<BuiltPrompt> PromptBuilder::chat(const api::ChatRequest& request) {
  TRY(check_token_ids(request.generation));
  const auto& gateway = request.generation.gateway;
  const bool is_given = gateway && !gateway->prompt_ids.empty();
  BuiltPrompt prompt = TRY(is_given ? given(*gateway) : rendered(request));
  prompt.max_tokens =
      TRY(resolve_max_tokens(std::ssize(prompt.ids), "messages", request.generation.stopping));
  if (gateway) TRY(check_resumed(*gateway, prompt.max_tokens));
  return prompt;
}

api::Parsed<BuiltPrompt> PromptBuilder::rendered(const api::ChatRequest& request) {
  const std::string text = TRY(render(request));
  BuiltPrompt prompt;
  prompt.ids = TRY(encode(text, "messages", SurroundingIds::kNone));
  if (model_.thinks) prompt.reasoning = start_after_prompt(text);
  return prompt;
}

api::Parsed<BuiltPrompt> PromptBuilder::given(const api::GatewayFields& gateway) const {
  TRY(check_ids(gateway.prompt_ids, kPromptIds));
  BuiltPrompt prompt{.ids = gateway.prompt_ids, .echo = {}};
  if (!model_.thinks) return prompt;
  constexpr size_t kEndIds = 16;  // hold "<think>" and the space behind it
  const auto end = std::span(prompt.ids).last(std::min(prompt.ids.size(), kEndIds));
  prompt.reasoning = start_after_prompt(
      tokenizer::decode(*model_.vocabulary, end, {.special = tokenizer::SpecialOutput::kKeep}));
  return prompt;
}

api::Parsed<std::monostate> PromptBuilder::check_ids(const std::vector<int32_t>& ids,
                                                     std::string_view param) const {
  for (const int32_t id : ids)
    if (!model_.vocabulary->contains(id))
      return outside_vocabulary(param, id, model_.vocabulary->size());
  return std::monostate();
}

api::Parsed<std::monostate> PromptBuilder::check_resumed(const api::GatewayFields& gateway,
                                                         int64_t max_tokens) const {
  TRY(check_ids(gateway.resume_ids, kResumeIds));
  if (std::ssize(gateway.resume_ids) <= max_tokens) return std::monostate();
  return api::invalid_field(
      kResumeIds, fmt::format("'{}' has {} ids, the answer may have {} tokens", kResumeIds,
                              gateway.resume_ids.size(), max_tokens));
}

api::Parsed<std::vector<BuiltPrompt>> PromptBuilder::completions(
    const api::CompletionRequest& request) {
  TRY(check_token_ids(request.generation));
  const auto& gateway = request.generation.gateway;
  std::vector<BuiltPrompt> prompts;
  for (const api::Prompt& source : request.prompts) {
    BuiltPrompt prompt;
    if (gateway && !gateway->prompt_ids.empty()) {
      TRY(check_ids(gateway->prompt_ids, kPromptIds));
      prompt.ids = gateway->prompt_ids;
    } else if (const auto* text = std::get_if<std::string>(&source)) {
      prompt.ids =
          TRY(encode(*text, "prompt",
                     request.add_special_tokens ? SurroundingIds::kAdd : SurroundingIds::kNone));
      if (request.echo) prompt.echo = *text;
    } else {
      prompt.ids = std::get<std::vector<int32_t>>(source);
      TRY(check_ids(prompt.ids, "prompt"));
      if (request.echo)
        prompt.echo = tokenizer::decode(
            *model_.vocabulary, prompt.ids,
            {.special = tokenizer::SpecialOutput::kKeep, .start = tokenizer::DecodeStart::kText});
    }
    if (prompt.ids.empty())
      return api::invalid_field("prompt", "'prompt' is empty: it has no token to go on from");
    prompt.max_tokens = TRY(resolve_max_tokens(static_cast<int64_t>(prompt.ids.size()), "prompt",
                                               request.generation.stopping));
    if (gateway) TRY(check_resumed(*gateway, prompt.max_tokens));
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

api::Parsed<std::vector<int32_t>> PromptBuilder::tokenize(const api::TokenizeRequest& request) {
  return std::move(TRY(tokenize_head(request, std::string::npos)).ids);
}

api::Parsed<PromptHead> PromptBuilder::tokenize_head(const api::TokenizeRequest& request,
                                                     size_t bytes_max) {
  const std::string rendered = request.chat ? TRY(render(*request.chat)) : std::string();
  const std::string_view text = request.chat ? std::string_view(rendered) : *request.prompt;
  const bool surrounded = !request.chat && request.add_special_tokens;
  PromptHead head;
  if (text.size() > bytes_max) head.extent = PromptHead::Extent::kCut;
  head.ids = TRY(encode(text.substr(0, bytes_max), request.chat ? "messages" : "prompt",
                        surrounded ? SurroundingIds::kAdd : SurroundingIds::kNone));
  return head;
}

api::Parsed<std::string> PromptBuilder::render(const api::ChatRequest& request) const {
  if (model_.chat_template == nullptr)
    return api::invalid_field(
        "messages",
        "this model has no chat template: use /v1/completions, or start the server "
        "with --chat-template FILE");
  const tokenizer::Vocabulary& vocabulary = *model_.vocabulary;
  jinja::Dict globals;
  globals.set("messages", to_value(request.messages));
  globals.set("tools", jinja::Value::none());
  globals.set("documents", jinja::Value::none());
  globals.set("add_generation_prompt", jinja::Value::boolean(request.add_generation_prompt));
  globals.set("bos_token", text_of(vocabulary, vocabulary.special().bos));
  globals.set("eos_token", text_of(vocabulary, vocabulary.special().eos));
  for (const auto& [key, value] : *request.template_variables.as<api::Json::Object>())
    globals.set(key, to_value(value));
  jinja::RenderOptions options;
  options.now_unix_s = model_.clock->unix_ns() / 1'000'000'000;
  auto text = model_.chat_template->render(jinja::Value::dict(std::move(globals)), options);
  if (!text.ok())
    return api::invalid_field(
        "messages",
        fmt::format("the model's chat template refuses these messages: {}", text.error().message));
  return std::move(text).value();
}

api::Parsed<std::vector<int32_t>> PromptBuilder::encode(std::string_view text,
                                                        std::string_view param,
                                                        SurroundingIds surrounding) {
  const int64_t tokens_least =
      static_cast<int64_t>(text.size()) / model_.vocabulary->token_bytes_max();
  if (tokens_least > model_.context_tokens_max)
    return api::context_too_long(
        param, fmt::format("This model's maximum context length is {} tokens. However, your prompt "
                           "of {} bytes has at least {} tokens.",
                           model_.context_tokens_max, text.size(), tokens_least));
  return encoder_.encode(
      text, {.special_text = tokenizer::SpecialText::kParse, .surrounding_ids = surrounding});
}

api::Parsed<int64_t> PromptBuilder::resolve_max_tokens(int64_t prompt_tokens,
                                                       std::string_view param,
                                                       const api::StopFields& stopping) const {
  const int64_t room = model_.context_tokens_max - prompt_tokens;
  const int64_t asked = stopping.max_tokens.value_or(std::max<int64_t>(room, 1));
  if (asked > room || room < 1)
    return api::context_too_long(
        param,
        fmt::format("This model's maximum context length is {} tokens. However, you requested {} "
                    "tokens ({} in the {}, {} in the completion). Please reduce the length of the "
                    "{} or of the completion.",
                    model_.context_tokens_max, prompt_tokens + asked, prompt_tokens, param, asked,
                    param));
  if (stopping.min_tokens > asked)
    return api::invalid_field("min_tokens", fmt::format("'min_tokens' is {}, more than the {} "
                                                        "tokens that may be generated",
                                                        stopping.min_tokens, asked));
  return asked;
}

api::Parsed<std::monostate> PromptBuilder::check_token_ids(
    const api::GenerationFields& fields) const {
  const int64_t size = model_.vocabulary->size();
  for (const auto& [id, unused] : fields.sampling.logit_bias)
    if (id >= size) return outside_vocabulary("logit_bias", id, size);
  for (const int32_t id : fields.stopping.stop_token_ids)
    if (id >= size) return outside_vocabulary("stop_token_ids", id, size);
  return std::monostate();
}

}  // namespace sluice::prompt
