#include "server/choice_text.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace sluice::server {

ChoiceText::ChoiceText(const tokenizer::Vocabulary& vocabulary, ChoiceTextOptions options)
    : vocabulary_(vocabulary),
      options_(std::move(options)),
      decoder_(vocabulary, {.special = options_.special}),
      stops_(options_.stops),
      splitter_(options_.reasoning) {}

void ChoiceText::add_echo(std::string_view prompt) {
  new_.text += prompt;
}

void ChoiceText::add_prompt_token(const EventBatch::PromptToken& token) {
  if (!options_.logprobs) return;
  api::TokenLogprobs entry{.token = text_of(token.event.token_id, token.event.logprob),
                           .predicted = !std::isnan(token.event.logprob),
                           .top = {}};
  for (const engine::TokenLogprob& top : token.top)
    entry.top.push_back(text_of(top.token_id, top.logprob));
  pending_logprobs_.push_back({.token = std::move(entry), .first_byte = -1});
}

ChoiceText::Next ChoiceText::add_token(const EventBatch::Token& token) {
  if (ended_) return Next::kMore;
  ++completion_tokens_;
  if (splitter_.in_reasoning()) ++reasoning_tokens_;
  if (options_.token_ids) token_ids_.push_back(token.event.token_id);
  if (token.event.kind == engine::TokenKind::kEnd) {
    end_token_id_ = token.event.token_id;
    if (options_.end_tokens == EndTokenLogprobs::kReport) add_logprobs(token);
    return Next::kMore;
  }
  add_logprobs(token);
  append_text(decoder_.push(token.event.token_id));
  return stop_text_ ? Next::kStopped : Next::kMore;
}

ChoiceText::Replayed ChoiceText::replay(std::span<const int32_t> ids,
                                        std::span<const int32_t> ends) {
  ASSERT(!options_.logprobs, "nobody knows the log probabilities of {} tokens", ids.size());
  bool over = false;
  for (const int32_t id : ids) {
    if (over) return Replayed::kBroken;
    EventBatch::Token token;
    token.event.token_id = id;
    const bool ends_text = std::find(ends.begin(), ends.end(), id) != ends.end();
    if (ends_text) token.event.kind = engine::TokenKind::kEnd;
    over = add_token(token) == Next::kStopped || ends_text;
  }
  new_ = {};
  token_ids_.clear();
  return over ? Replayed::kEnded : Replayed::kGoesOn;
}

void ChoiceText::append_text(std::string text) {
  if (text.empty()) return;
  decoded_bytes_ += static_cast<int64_t>(text.size());
  if (completion_tokens_ <= options_.min_tokens && !options_.stops.empty())
    return append_certain(text);
  const StopMatcher::Step step = stops_.feed(text);
  append_certain(step.text);
  if (!step.matched) return;
  ended_ = true;
  stop_text_ = options_.stops[*step.matched];
  std::erase_if(pending_logprobs_, [&](const PendingLogprobs& pending) {
    return pending.first_byte >= certain_bytes_;
  });
  if (options_.include_stop_text) append_certain(*stop_text_);
}

void ChoiceText::append_certain(std::string_view text) {
  certain_bytes_ += static_cast<int64_t>(text.size());
  append_parts(splitter_.feed(text));
}

void ChoiceText::append_parts(ReasoningSplitter::Parts parts) {
  new_.reasoning += parts.reasoning;
  new_.text += parts.answer;
}

void ChoiceText::end(engine::FinishReason reason) {
  if (!ended_) {
    append_text(decoder_.finish());
    if (!ended_) append_certain(stops_.flush());
  }
  ended_ = true;
  append_parts(splitter_.flush());
  api::Finish finish;
  const bool stopped = stop_text_ || reason == engine::FinishReason::kStop;
  finish.reason = stopped ? api::FinishReason::kStop : api::FinishReason::kLength;
  if (stop_text_)
    finish.stop_reason = *stop_text_;
  else if (end_token_id_ && !vocabulary_.is_end_of_generation(static_cast<int32_t>(*end_token_id_)))
    finish.stop_reason = *end_token_id_;
  new_.finish = finish;
}

std::optional<api::Choice> ChoiceText::take() {
  if (options_.logprobs) {
    const int64_t offset = logprob_characters_;
    std::vector<api::TokenLogprobs> logprobs = take_logprobs();
    if (!logprobs.empty() || new_.finish) {
      new_.logprobs = std::move(logprobs);
      new_.logprobs_offset = offset;
    }
  }
  const bool nothing =
      new_.text.empty() && new_.reasoning.empty() && !new_.logprobs && !new_.finish;
  if (nothing && token_ids_.empty()) return std::nullopt;
  if (options_.token_ids) new_.token_ids = std::exchange(token_ids_, {});
  return std::exchange(new_, {});
}

std::vector<api::TokenLogprobs> ChoiceText::take_logprobs() {
  const bool nothing_held = certain_bytes_ >= decoded_bytes_;
  size_t ready = 0;
  while (ready < pending_logprobs_.size() &&
         (nothing_held || new_.finish || pending_logprobs_[ready].first_byte < certain_bytes_))
    ++ready;
  std::vector<api::TokenLogprobs> logprobs;
  for (size_t i = 0; i < ready; ++i) {
    api::TokenLogprobs& token = pending_logprobs_[i].token;
    logprob_characters_ += api::count_characters(token.token.bytes);
    logprobs.push_back(std::move(token));
  }
  pending_logprobs_.erase(pending_logprobs_.begin(),
                          pending_logprobs_.begin() + static_cast<int64_t>(ready));
  return logprobs;
}

void ChoiceText::add_logprobs(const EventBatch::Token& token) {
  if (!options_.logprobs) return;
  api::TokenLogprobs entry{
      .token = text_of(token.event.token_id, token.event.logprob), .predicted = true, .top = {}};
  for (const engine::TokenLogprob& top : token.top)
    entry.top.push_back(text_of(top.token_id, top.logprob));
  pending_logprobs_.push_back({.token = std::move(entry), .first_byte = decoded_bytes_});
}

api::TokenText ChoiceText::text_of(int32_t token_id, double logprob) const {
  return {.bytes = std::string(vocabulary_.bytes(token_id)), .logprob = logprob};
}

}  // namespace sluice::server
