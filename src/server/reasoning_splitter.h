// Splits the text of a model that thinks, <think>…</think>answer, into thoughts and answer while it
// arrives in pieces.
#pragma once

#include <string>
#include <string_view>

#include "prompt/reasoning_start.h"
#include "server/stop_matcher.h"

namespace sluice::server {

// The tags and the white space around the thoughts belong to neither. A text that does not begin
// with <think> is all answer, unless the prompt has opened the thoughts already.
class ReasoningSplitter {
 public:
  using Start = prompt::ReasoningStart;
  explicit ReasoningSplitter(Start start);

  struct Parts {
    std::string reasoning;
    std::string answer;
  };
  Parts feed(std::string_view piece);
  Parts flush();  // the text has ended

  // What comes next belongs to the thoughts.
  bool in_reasoning() const { return state_ == State::kReasoning; }

 private:
  enum class State { kBeforeTag, kReasoning, kBeforeAnswer, kAnswer };
  void before_tag(std::string_view piece, Parts* parts);
  void reasoning(std::string_view piece, Parts* parts);
  void before_answer(std::string_view piece, Parts* parts);
  void append_reasoning(std::string_view text, Parts* parts);

  State state_;
  std::string held_;    // kBeforeTag: white space and a beginning of <think>
  StopMatcher close_;   // kReasoning
  std::string spaces_;  // kReasoning: white space that may turn out to be the last
  bool reasoning_began_ = false;
};

}  // namespace sluice::server
