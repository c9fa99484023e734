// POST /v1/completions.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/generation_fields.h"

namespace sluice::api {

using Prompt = std::variant<std::string, std::vector<int32_t>>;  // text or token ids

struct CompletionRequest {
  GenerationFields generation;  // stopping.max_tokens: 16 unless said, as OpenAI and vLLM have it
  std::vector<Prompt> prompts;  // 1 or more; answers are numbered prompt · n + choice
  bool echo = false;            // the answer begins with the prompt; max_tokens may be 0 then
  std::optional<int64_t> logprobs;  // alternatives to report for each token; 0: the token's own
  bool add_special_tokens = true;   // e.g. a begin-of-text token, for a prompt given as text
};

Parsed<CompletionRequest> parse_completion_request(std::string_view body,
                                                   const RequestLimits& limits);

}  // namespace sluice::api
