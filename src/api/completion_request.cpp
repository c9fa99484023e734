#include "api/completion_request.h"

#include <limits>

#include <fmt/format.h>

#include "api/field_reader.h"

namespace sluice::api {
namespace {

constexpr int64_t kDefaultMaxTokens = 16;

bool is_empty_text(const Json& value) {
  const auto* text = value.as<std::string>();
  return text != nullptr && text->empty();
}

constexpr UnsupportedField kUnsupported[] = {
    {"suffix", is_empty_text, "inserting before a suffix is"},
    {"prompt_embeds", never, "a prompt of embeddings is"},
};

Parsed<Prompt> parse_prompt(const Json& json, const std::string& path) {
  if (const auto* text = json.as<std::string>()) return Prompt(*text);
  const auto* array = json.as<Json::Array>();
  if (array == nullptr)
    return invalid_field(path, fmt::format("'{}' must be a string, a list of strings, token ids or "
                                           "a list of lists of token ids, found: {}",
                                           path, json.type_name()));
  if (array->empty()) return invalid_field(path, fmt::format("'{}' is an empty list", path));
  return Prompt(TRY(to_token_ids(*array, path)));
}

bool is_list_of_prompts(const Json& json) {
  const auto* array = json.as<Json::Array>();
  if (array == nullptr || array->empty()) return false;
  const Json& first = array->front();
  return first.as<std::string>() != nullptr || first.as<Json::Array>() != nullptr;
}

Parsed<std::vector<Prompt>> parse_prompts(const FieldReader& fields, const RequestLimits& limits) {
  const Json* json = fields.find("prompt");
  if (json == nullptr) return invalid_field("prompt", "'prompt' is missing");
  std::vector<Prompt> prompts;
  if (!is_list_of_prompts(*json)) {
    prompts.push_back(TRY(parse_prompt(*json, "prompt")));
    return prompts;
  }
  const auto& array = *json->as<Json::Array>();
  if (static_cast<int64_t>(array.size()) > limits.prompts_max)
    return invalid_field("prompt", fmt::format("'prompt' has {} prompts, at most {} are allowed",
                                               array.size(), limits.prompts_max));
  for (const Json& item : array)
    prompts.push_back(TRY(parse_prompt(item, fmt::format("prompt[{}]", prompts.size()))));
  return prompts;
}

}  // namespace

Parsed<CompletionRequest> parse_completion_request(std::string_view body,
                                                   const RequestLimits& limits) {
  const Json json = TRY(parse_json_object(body));
  const FieldReader fields(json);
  TRY(refuse_unsupported(fields, kUnsupported));
  CompletionRequest request;
  request.generation = TRY(parse_generation_fields(json, limits));
  request.prompts = TRY(parse_prompts(fields, limits));
  request.echo = TRY(fields.boolean("echo")).value_or(false);
  request.logprobs = TRY(fields.integer("logprobs", {.least = 0, .most = limits.top_logprobs_max}));
  request.add_special_tokens = TRY(fields.boolean("add_special_tokens")).value_or(true);
  const IntegerRange tokens = {.least = request.echo ? 0 : 1,
                               .most = std::numeric_limits<int32_t>::max()};
  request.generation.stopping.max_tokens =
      TRY(fields.integer("max_tokens", tokens)).value_or(kDefaultMaxTokens);
  return request;
}

}  // namespace sluice::api
