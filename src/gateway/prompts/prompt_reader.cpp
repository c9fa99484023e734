#include "gateway/prompts/prompt_reader.h"

#include <limits>
#include <utility>
#include <variant>
#include <vector>

namespace sluice::gateway {
namespace {

using contract::EventKind;

// A prompt that is ids already, or what has to be tokenized.
using Source = std::variant<std::vector<int32_t>, api::TokenizeRequest>;

// Empty: not for this gateway to say.
std::vector<Source> sources_of(EventKind kind, std::string_view body) {
  std::vector<Source> sources;
  if (kind == EventKind::kChatCompletion) {
    auto chat = api::parse_chat_request(body, {});
    if (!chat.ok()) return sources;
    api::TokenizeRequest request;
    request.chat = std::move(chat).value();
    sources.emplace_back(std::move(request));
  } else if (kind == EventKind::kCompletion) {
    auto completion = api::parse_completion_request(body, {});
    if (!completion.ok()) return sources;
    const bool special = completion.value().add_special_tokens;
    for (api::Prompt& prompt : std::move(completion).value().prompts) {
      if (auto* ids = std::get_if<std::vector<int32_t>>(&prompt)) {
        sources.emplace_back(std::move(*ids));
        continue;
      }
      api::TokenizeRequest request;
      request.prompt = std::get<std::string>(std::move(prompt));
      request.add_special_tokens = special;
      sources.emplace_back(std::move(request));
    }
  }
  return sources;
}

}  // namespace

PromptReader::PromptReader(std::shared_ptr<const prompt::ModelText> text, const core::Clock& clock)
    : text_(std::move(text)),
      builder_({.vocabulary = &text_->vocabulary,
                .chat_template = text_->chat_template ? &*text_->chat_template : nullptr,
                .thinks = text_->thinks,
                .context_tokens_max = std::numeric_limits<int64_t>::max(),
                .clock = &clock}) {}

std::optional<int64_t> PromptReader::count(EventKind kind, std::string_view body) {
  const std::vector<Source> sources = sources_of(kind, body);
  if (sources.empty()) return std::nullopt;
  int64_t tokens = 0;
  for (const Source& source : sources) {
    if (const auto* ids = std::get_if<std::vector<int32_t>>(&source)) {
      tokens += std::ssize(*ids);
      continue;
    }
    const auto ids = builder_.tokenize(std::get<api::TokenizeRequest>(source));
    if (!ids.ok()) return std::nullopt;
    tokens += std::ssize(ids.value());
  }
  return tokens;
}

std::optional<prompt::PromptHead> PromptReader::head(EventKind kind, std::string_view body) {
  std::vector<Source> sources = sources_of(kind, body);
  if (sources.empty()) return std::nullopt;
  if (auto* ids = std::get_if<std::vector<int32_t>>(&sources.front()))
    return prompt::PromptHead{.ids = std::move(*ids)};
  auto head =
      builder_.tokenize_head(std::get<api::TokenizeRequest>(sources.front()), kHeadBytesMax);
  if (!head.ok()) return std::nullopt;
  return std::move(head).value();
}

}  // namespace sluice::gateway
