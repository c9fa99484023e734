#include "api/logprobs.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "api/utf8.h"

namespace sluice::api {
namespace {

// What JSON can hold in place of minus infinity, as vLLM writes it.
constexpr double kLogprobMin = -9999.0;

double finite(double logprob) {
  return std::isnan(logprob) ? kLogprobMin : std::max(logprob, kLogprobMin);
}

std::string readable(std::string_view bytes) {
  if (is_utf8(bytes)) return std::string(bytes);
  std::string text = "bytes:";
  for (const char c : bytes) text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return text;
}

void write_token_fields(JsonWriter* json, const TokenText& token) {
  json->key("token").string(token.bytes);
  json->key("logprob").number(finite(token.logprob));
  json->key("bytes").begin_array();
  for (const char c : token.bytes) json->integer(static_cast<unsigned char>(c));
  json->end_array();
}

void write_top(JsonWriter* json, const TokenLogprobs& token) {
  if (!token.predicted) {
    json->null();
    return;
  }
  json->begin_object();
  std::vector<std::string> written;
  const auto add = [&](const TokenText& alternative) {
    std::string name = readable(alternative.bytes);
    if (std::find(written.begin(), written.end(), name) != written.end()) return;
    json->key(name).number(finite(alternative.logprob));
    written.push_back(std::move(name));
  };
  for (const TokenText& alternative : token.top) add(alternative);
  add(token.token);
  json->end_object();
}

}  // namespace

void write_chat_logprobs(JsonWriter* json, const std::vector<TokenLogprobs>& tokens) {
  json->begin_object().key("content").begin_array();
  for (const TokenLogprobs& token : tokens) {
    json->begin_object();
    write_token_fields(json, token.token);
    json->key("top_logprobs").begin_array();
    for (const TokenText& alternative : token.top) {
      json->begin_object();
      write_token_fields(json, alternative);
      json->end_object();
    }
    json->end_array().end_object();
  }
  json->end_array().key("refusal").null().end_object();
}

void write_completion_logprobs(JsonWriter* json, const std::vector<TokenLogprobs>& tokens,
                               int64_t first_offset) {
  json->begin_object().key("text_offset").begin_array();
  int64_t offset = first_offset;
  for (const TokenLogprobs& token : tokens) {
    json->integer(offset);
    offset += count_characters(token.token.bytes);
  }
  json->end_array().key("token_logprobs").begin_array();
  for (const TokenLogprobs& token : tokens) {
    if (token.predicted)
      json->number(finite(token.token.logprob));
    else
      json->null();
  }
  json->end_array().key("tokens").begin_array();
  for (const TokenLogprobs& token : tokens) json->string(readable(token.token.bytes));
  json->end_array().key("top_logprobs").begin_array();
  for (const TokenLogprobs& token : tokens) write_top(json, token);
  json->end_array().end_object();
}

int64_t count_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

}  // namespace sluice::api
