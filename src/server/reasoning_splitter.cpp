#include "server/reasoning_splitter.h"

#include <utility>

namespace sluice::server {
namespace {

constexpr std::string_view kOpen = "<think>";
constexpr std::string_view kClose = "</think>";
constexpr std::string_view kSpaces = " \t\r\n";

size_t leading_spaces(std::string_view text) {
  const size_t at = text.find_first_not_of(kSpaces);
  return at == std::string_view::npos ? text.size() : at;
}

size_t without_trailing_spaces(std::string_view text) {
  const size_t at = text.find_last_not_of(kSpaces);
  return at == std::string_view::npos ? 0 : at + 1;
}

}  // namespace

ReasoningSplitter::ReasoningSplitter(Start start)
    : state_(start == Start::kOff      ? State::kAnswer
             : start == Start::kOpened ? State::kReasoning
                                       : State::kBeforeTag),
      close_({std::string(kClose)}) {}

ReasoningSplitter::Parts ReasoningSplitter::feed(std::string_view piece) {
  Parts parts;
  switch (state_) {
    case State::kBeforeTag:
      before_tag(piece, &parts);
      break;
    case State::kReasoning:
      reasoning(piece, &parts);
      break;
    case State::kBeforeAnswer:
      before_answer(piece, &parts);
      break;
    case State::kAnswer:
      parts.answer = piece;
      break;
  }
  return parts;
}

void ReasoningSplitter::before_tag(std::string_view piece, Parts* parts) {
  held_ += piece;
  const std::string_view text = std::string_view(held_).substr(leading_spaces(held_));
  if (text.starts_with(kOpen)) {
    state_ = State::kReasoning;
    const std::string rest(text.substr(kOpen.size()));
    held_.clear();
    reasoning(rest, parts);
  } else if (!kOpen.starts_with(text)) {
    state_ = State::kAnswer;
    parts->answer = std::exchange(held_, {});
  }
}

void ReasoningSplitter::reasoning(std::string_view piece, Parts* parts) {
  const StopMatcher::Step step = close_.feed(piece);
  append_reasoning(step.text, parts);
  if (!step.matched) return;
  spaces_.clear();
  state_ = State::kBeforeAnswer;
  before_answer(step.rest, parts);
}

void ReasoningSplitter::append_reasoning(std::string_view text, Parts* parts) {
  if (!reasoning_began_) text.remove_prefix(leading_spaces(text));
  if (text.empty()) return;
  reasoning_began_ = true;
  const size_t solid = without_trailing_spaces(text);
  if (solid > 0) {
    parts->reasoning += std::exchange(spaces_, {});
    parts->reasoning += text.substr(0, solid);
  }
  spaces_ += text.substr(solid);
}

void ReasoningSplitter::before_answer(std::string_view piece, Parts* parts) {
  piece.remove_prefix(leading_spaces(piece));
  if (piece.empty()) return;
  state_ = State::kAnswer;
  parts->answer += piece;
}

ReasoningSplitter::Parts ReasoningSplitter::flush() {
  Parts parts;
  if (state_ == State::kBeforeTag) parts.answer = std::exchange(held_, {});
  if (state_ == State::kReasoning) append_reasoning(close_.flush(), &parts);
  return parts;
}

}  // namespace sluice::server
