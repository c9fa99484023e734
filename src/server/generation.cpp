#include "server/generation.h"

#include <utility>

#include <fmt/format.h>

#include "net/sse.h"

namespace sluice::server {
namespace {

std::vector<net::Header> views_of(const std::vector<net::OwnedHeader>& headers) {
  std::vector<net::Header> views;
  for (const net::OwnedHeader& header : headers) views.push_back({header.name, header.value});
  return views;
}

}  // namespace

Generation::Generation(net::Responder responder, GenerationPlan plan)
    : responder_(std::move(responder)),
      plan_(std::move(plan)),
      role_sent_(plan_.choices.size(), plan_.begun),
      cached_tokens_(plan_.prompt_tokens.size(), 0),
      last_write_ns_(plan_.started_ns) {
  if (!plan_.streaming.stream) return;
  std::vector<net::Header> headers = views_of(plan_.headers);
  headers.push_back({"content-type", net::kSseContentType});
  headers.push_back({"cache-control", "no-cache"});
  headers.push_back({"x-accel-buffering", "no"});
  responder_.start_stream(200, headers);
}

void Generation::add_prompt_token(size_t choice, const EventBatch::PromptToken& token) {
  plan_.choices[choice].add_prompt_token(token);
}

ChoiceText::Next Generation::add_token(size_t choice, const EventBatch::Token& token) {
  return plan_.choices[choice].add_token(token);
}

void Generation::add_finish(size_t choice, const engine::FinishEvent& event) {
  ++finished_;
  accepted_draft_tokens_ += event.accepted_draft_tokens;
  rejected_draft_tokens_ += event.rejected_draft_tokens;
  const size_t prompt = choice / static_cast<size_t>(plan_.n);
  if (choice % static_cast<size_t>(plan_.n) == 0) cached_tokens_[prompt] = event.cached_tokens;
  if (event.reason == engine::FinishReason::kError)
    error_ = api::server_error("the model gave values that are no numbers");
  else if (event.reason == engine::FinishReason::kCancelled)
    error_ = api::overloaded("the server is shutting down and ended this request", 1);
  else if (event.reason == engine::FinishReason::kDeadline)
    error_ = api::deadline_exceeded();
  else
    plan_.choices[choice].end(event.reason);
}

Generation::State Generation::flush(int64_t now_ns) {
  const State state = error_                              ? State::kFailed
                      : finished_ == plan_.choices.size() ? State::kComplete
                                                          : State::kOpen;
  if (!plan_.streaming.stream) {
    if (state != State::kOpen) send_whole(now_ns);
    return state;
  }
  flush_stream();
  if (!out_.empty()) {
    responder_.write(out_);
    out_.clear();
    last_write_ns_ = now_ns;
  }
  if (state != State::kOpen) responder_.finish();
  return state;
}

void Generation::flush_stream() {
  for (ChoiceText& text : plan_.choices) {
    std::optional<api::Choice> choice = text.take();
    if (!choice) continue;
    choice->index = &text - plan_.choices.data();
    append_choice(*choice);
  }
  if (error_) {
    append_event(api::to_json(*error_));
    return;
  }
  if (finished_ < plan_.choices.size()) return;
  if (plan_.streaming.include_usage)
    append_event(plan_.kind == AnswerKind::kChat
                     ? api::chat_usage_event(plan_.head, usage())
                     : api::completion_usage_event(plan_.head, usage()));
  out_ += net::kSseDone;
}

void Generation::append_choice(const api::Choice& choice) {
  if (plan_.kind == AnswerKind::kCompletion) {
    append_event(api::completion_event(plan_.head, choice, event_usage()));
    return;
  }
  const auto index = static_cast<size_t>(choice.index);
  if (!role_sent_[index])
    append_event(api::chat_role_event(plan_.head, choice.index, event_usage()));
  role_sent_[index] = true;
  append_event(api::chat_event(plan_.head, choice, event_usage(), plan_.reasoning_field));
}

void Generation::send_whole(int64_t now_ns) {
  net::Response response{.headers = std::move(plan_.headers), .body = {}};
  response.headers.push_back({"content-type", "application/json"});
  response.headers.push_back(
      {"openai-processing-ms", fmt::format("{}", (now_ns - plan_.started_ns) / 1'000'000)});
  if (error_) {
    response.status = error_->status;
    response.body = api::to_json(*error_);
    if (error_->retry_after_seconds > 0)
      response.headers.push_back({"retry-after", fmt::format("{}", error_->retry_after_seconds)});
    responder_.send(response);
    return;
  }
  api::Answer answer{.head = plan_.head, .choices = {}, .usage = usage()};
  for (ChoiceText& text : plan_.choices) {
    answer.choices.push_back(*text.take());
    answer.choices.back().index = &text - plan_.choices.data();
  }
  response.body = plan_.kind == AnswerKind::kChat ? api::chat_json(answer, plan_.reasoning_field)
                                                  : api::completion_json(answer);
  responder_.send(response);
}

void Generation::ping(int64_t before_ns, int64_t now_ns) {
  if (!plan_.streaming.stream || last_write_ns_ > before_ns) return;
  responder_.write(net::kSsePing);
  last_write_ns_ = now_ns;
}

void Generation::append_event(std::string_view json) {
  net::append_sse_data(json, &out_);
}

api::EventUsage Generation::event_usage() const {
  using Mode = api::EventUsage::Mode;
  if (plan_.streaming.continuous_usage_stats) return {.mode = Mode::kValue, .usage = usage()};
  return {.mode = plan_.streaming.include_usage ? Mode::kNull : Mode::kOmitted, .usage = {}};
}

api::Usage Generation::usage() const {
  api::Usage usage;
  usage.accepted_draft_tokens = accepted_draft_tokens_;
  usage.rejected_draft_tokens = rejected_draft_tokens_;
  for (const int64_t tokens : plan_.prompt_tokens) usage.prompt_tokens += tokens;
  for (const int64_t tokens : cached_tokens_) usage.cached_tokens += tokens;
  for (const ChoiceText& text : plan_.choices) {
    usage.completion_tokens += text.completion_tokens();
    usage.reasoning_tokens += text.reasoning_tokens();
  }
  return usage;
}

}  // namespace sluice::server
