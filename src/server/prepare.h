// A request body to what can be submitted to the engine: parse, check, render, tokenize. Pure work,
// done on the event loop for small bodies and on the worker for large ones.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/generation_fields.h"
#include "prompt/prompt_builder.h"
#include "server/generation.h"

namespace sluice::server {

struct PreparedGeneration {
  AnswerKind kind = AnswerKind::kChat;
  api::GenerationFields fields;
  std::vector<prompt::BuiltPrompt> prompts;
  bool echo = false;
  int32_t logprobs_top = -1;  // -1: none are reported
};

// Whether a request comes from the gateway: it alone may send the object "sluice".
enum class GatewayKey : uint8_t { kNone, kValid, kWrong, kNotConfigured };

struct PrepareContext {
  api::RequestLimits limits;
  std::span<const std::string> model_names;  // that requests may ask for
  prompt::PromptBuilder& builder;
  GatewayKey gateway_key = GatewayKey::kNone;
};

api::Parsed<PreparedGeneration> prepare_generation(AnswerKind kind, std::string_view body,
                                                   PrepareContext context);

// The body of the answer.
api::Parsed<std::string> answer_tokenize(std::string_view body, PrepareContext context,
                                         const prompt::PromptModel& model);
api::Parsed<std::string> answer_detokenize(std::string_view body, PrepareContext context,
                                           const prompt::PromptModel& model);

}  // namespace sluice::server
