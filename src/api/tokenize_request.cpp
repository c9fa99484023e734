#include "api/tokenize_request.h"

#include <fmt/format.h>

#include "api/field_reader.h"
#include "api/json_writer.h"

namespace sluice::api {

Parsed<TokenizeRequest> parse_tokenize_request(std::string_view body, const RequestLimits& limits) {
  const Json json = TRY(parse_json_object(body));
  const FieldReader fields(json);
  TokenizeRequest request;
  request.model = TRY(fields.string("model")).value_or("");
  request.add_special_tokens = TRY(fields.boolean("add_special_tokens")).value_or(true);
  request.return_texts = TRY(fields.boolean("return_token_strs")).value_or(false);
  request.prompt = TRY(fields.string("prompt"));
  if (!request.prompt) request.prompt = TRY(fields.string("content"));  // llama.cpp's name
  if (request.prompt) return request;
  if (fields.find("messages") == nullptr)
    return invalid_field("prompt", "'prompt' (a string) or 'messages' is missing");
  request.chat = TRY(parse_chat_request(body, limits));
  return request;
}

Parsed<DetokenizeRequest> parse_detokenize_request(std::string_view body, int64_t tokens_max) {
  const Json json = TRY(parse_json_object(body));
  const FieldReader fields(json);
  if (fields.find("tokens") == nullptr) return invalid_field("tokens", "'tokens' is missing");
  DetokenizeRequest request;
  request.model = TRY(fields.string("model")).value_or("");
  request.token_ids = TRY(fields.token_ids("tokens", {.items_max = tokens_max}));
  return request;
}

std::string tokenize_json(const TokenizeAnswer& answer) {
  JsonWriter json;
  json.begin_object();
  json.key("count").integer(static_cast<int64_t>(answer.token_ids.size()));
  json.key("max_model_len").integer(answer.context_tokens_max);
  json.key("tokens").begin_array();
  for (const int32_t id : answer.token_ids) json.integer(id);
  json.end_array();
  if (answer.texts) {
    json.key("token_strs").begin_array();
    for (const std::string& text : *answer.texts) json.string(text);
    json.end_array();
  }
  json.end_object();
  return json.take();
}

std::string detokenize_json(std::string_view text) {
  JsonWriter json;
  json.begin_object().key("prompt").string(text).end_object();
  return json.take();
}

}  // namespace sluice::api
