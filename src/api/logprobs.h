// Log probabilities of tokens, in the two shapes that OpenAI gives them.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "api/json_writer.h"

namespace sluice::api {

struct TokenText {
  std::string bytes;  // of the token; may be a part of a character
  double logprob = 0;
};

struct TokenLogprobs {
  TokenText token;
  bool predicted = true;       // false for the first token of a prompt: it has no probability
  std::vector<TokenText> top;  // best first
};

// Chat: {"content":[{"token","logprob","bytes","top_logprobs":[…]}],"refusal":null}
void write_chat_logprobs(JsonWriter* json, const std::vector<TokenLogprobs>& tokens);

// Completions: {"text_offset":[…],"token_logprobs":[…],"tokens":[…],"top_logprobs":[{…}]}; the
// offsets count characters from `first_offset`. A token that is no UTF-8 by itself is written
// "bytes:\xe2\x82", as OpenAI does, so that two of them stay different.
void write_completion_logprobs(JsonWriter* json, const std::vector<TokenLogprobs>& tokens,
                               int64_t first_offset);

// Characters that the tokens add to `text_offset`.
int64_t count_characters(std::string_view text);

}  // namespace sluice::api
