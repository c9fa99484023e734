// Answers of /v1/chat/completions and /v1/completions, whole and as the events of a stream.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/logprobs.h"

namespace sluice::api {

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;          // of the prompt
  int64_t reasoning_tokens = 0;       // of the completion
  int64_t accepted_draft_tokens = 0;  // of the completion, as far as its requests have ended
  int64_t rejected_draft_tokens = 0;
};

// What all parts of one answer carry.
struct AnswerHead {
  std::string id;  // "chatcmpl-…" or "cmpl-…"
  int64_t created_s = 0;
  std::string model;
};

enum class FinishReason : uint8_t { kStop, kLength };

struct Finish {
  FinishReason reason = FinishReason::kStop;
  // vLLM's stop_reason: the text or the token id that stopped it, null for the model's own end.
  std::variant<std::monostate, std::string, int64_t> stop_reason;
};

// A choice of a whole answer, or what one event adds to a choice.
struct Choice {
  int64_t index = 0;
  std::string text = {};
  std::string reasoning = {};  // chat only
  std::optional<std::vector<TokenLogprobs>> logprobs = std::nullopt;
  int64_t logprobs_offset = 0;  // characters of the choice before the first of `logprobs`
  std::optional<std::vector<int32_t>> token_ids = std::nullopt;  // that all of this came from
  std::optional<Finish> finish = std::nullopt;                   // always set in a whole answer
};

// The name of the field with a model's thoughts: reasoning_content (DeepSeek, SGLang, Open WebUI)
// or reasoning (newer vLLM, OpenRouter).
enum class ReasoningField : uint8_t { kReasoningContent, kReasoning };

struct Answer {
  AnswerHead head;
  std::vector<Choice> choices;
  Usage usage;
};

// Whether the events of a stream say "usage": not at all, null until the last one, or a value.
struct EventUsage {
  enum class Mode : uint8_t { kOmitted, kNull, kValue } mode = Mode::kOmitted;
  Usage usage;
};

std::string chat_json(const Answer& answer, ReasoningField field);
std::string completion_json(const Answer& answer);

// The first event of a chat choice: delta {"role":"assistant","content":""}.
std::string chat_role_event(const AnswerHead& head, int64_t index, const EventUsage& usage);
std::string chat_event(const AnswerHead& head, const Choice& choice, const EventUsage& usage,
                       ReasoningField field);
std::string completion_event(const AnswerHead& head, const Choice& choice, const EventUsage& usage);
// The last event where include_usage was asked for: no choices.
std::string chat_usage_event(const AnswerHead& head, const Usage& usage);
std::string completion_usage_event(const AnswerHead& head, const Usage& usage);

}  // namespace sluice::api
