// POST /v1/chat/completions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/generation_fields.h"

namespace sluice::api {

struct ChatMessage {
  std::string role;  // system, user or assistant ("developer" reads as system)
  std::string content;
  std::optional<std::string> name;
  std::optional<std::string> reasoning_content;  // of an assistant; also read from `reasoning`
};

struct ChatRequest {
  GenerationFields generation;
  std::vector<ChatMessage> messages;
  Json template_variables;  // an object: chat_template_kwargs, enable_thinking, reasoning_effort
  bool add_generation_prompt = true;
  bool logprobs = false;
  int64_t top_logprobs = 0;
};

// Text parts of a content list are joined by a newline, as vLLM does for templates that take text.
Parsed<ChatRequest> parse_chat_request(std::string_view body, const RequestLimits& limits);

}  // namespace sluice::api
