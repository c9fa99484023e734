// POST /tokenize and /detokenize, as vLLM has them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/chat_request.h"

namespace sluice::api {

struct TokenizeRequest {
  std::string model;
  std::optional<std::string> prompt;  // else `chat`
  std::optional<ChatRequest> chat;    // messages, rendered with the model's template
  bool add_special_tokens = true;     // of a prompt
  bool return_texts = false;          // return_token_strs
};

struct DetokenizeRequest {
  std::string model;
  std::vector<int32_t> token_ids;
};

Parsed<TokenizeRequest> parse_tokenize_request(std::string_view body, const RequestLimits& limits);
Parsed<DetokenizeRequest> parse_detokenize_request(std::string_view body, int64_t tokens_max);

struct TokenizeAnswer {
  std::span<const int32_t> token_ids;
  int64_t context_tokens_max = 0;
  std::optional<std::vector<std::string>> texts;  // of the tokens
};
std::string tokenize_json(const TokenizeAnswer& answer);
std::string detokenize_json(std::string_view text);

}  // namespace sluice::api
