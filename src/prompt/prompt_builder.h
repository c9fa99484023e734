// From a request to token ids: chat template, tokenizer, and every check that needs the model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/chat_request.h"
#include "api/completion_request.h"
#include "api/tokenize_request.h"
#include "core/clock.h"
#include "prompt/model_text.h"
#include "prompt/reasoning_start.h"
#include "tokenizer/encoder.h"

namespace sluice::prompt {

// Immutable, shared by the threads that build prompts.
struct PromptModel {
  const tokenizer::Vocabulary* vocabulary = nullptr;
  const jinja::Template* chat_template = nullptr;  // null: chat requests are refused
  bool thinks = false;                             // its answers may hold <think>…</think>
  int64_t context_tokens_max = 0;
  const core::Clock* clock = nullptr;
};

struct BuiltPrompt {
  std::vector<int32_t> ids;
  std::string echo;  // what the answer begins with
  int64_t max_tokens = 0;
  ReasoningStart reasoning = ReasoningStart::kOff;
};

// How a prompt begins. Where it is cut, the last ids may differ from those of the whole text.
struct PromptHead {
  std::vector<int32_t> ids;
  enum class Extent : uint8_t { kWhole, kCut } extent = Extent::kWhole;
};

// One for each thread: it holds the encoder's working memory.
class PromptBuilder {
 public:
  explicit PromptBuilder(const PromptModel& model) : model_(model), encoder_(*model.vocabulary) {}

  // Refuses (400): what the template refuses, a prompt that does not fit (by its bytes, before it
  // is tokenized, where that is certain), ids outside the vocabulary.
  api::Parsed<BuiltPrompt> chat(const api::ChatRequest& request);
  api::Parsed<std::vector<BuiltPrompt>> completions(const api::CompletionRequest& request);
  api::Parsed<std::vector<int32_t>> tokenize(const api::TokenizeRequest& request);
  // Of the first `bytes_max` bytes of what tokenize() would encode.
  api::Parsed<PromptHead> tokenize_head(const api::TokenizeRequest& request, size_t bytes_max);

 private:
  // A chat's prompt, without max_tokens: the gateway's ids, or from the messages.
  api::Parsed<BuiltPrompt> given(const api::GatewayFields& gateway) const;
  api::Parsed<BuiltPrompt> rendered(const api::ChatRequest& request);
  api::Parsed<std::monostate> check_resumed(const api::GatewayFields& gateway,
                                            int64_t max_tokens) const;
  api::Parsed<std::monostate> check_ids(const std::vector<int32_t>& ids,
                                        std::string_view param) const;
  api::Parsed<std::string> render(const api::ChatRequest& request) const;
  api::Parsed<std::vector<int32_t>> encode(std::string_view text, std::string_view param,
                                           tokenizer::SurroundingIds surrounding);
  api::Parsed<int64_t> resolve_max_tokens(int64_t prompt_tokens, std::string_view param,
                                          const api::StopFields& stopping) const;
  api::Parsed<std::monostate> check_token_ids(const api::GenerationFields& fields) const;

  PromptModel model_;
  tokenizer::Encoder encoder_;
};

}  // namespace sluice::prompt
