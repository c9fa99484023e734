// From the token ids of one choice to what its client reads: characters, stop strings, thoughts,
// log probabilities.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/generation_response.h"
#include "engine/request.h"
#include "server/event_bridge.h"
#include "server/reasoning_splitter.h"
#include "server/stop_matcher.h"
#include "tokenizer/decoder.h"

namespace sluice::server {

// Whether the tokens that end a text are in its log probabilities: lm-eval takes the last token of
// a completion off before it sums; chat clients expect the tokens to join to the content.
enum class EndTokenLogprobs : uint8_t { kOmit, kReport };

struct ChoiceTextOptions {
  std::vector<std::string> stops = {};
  int64_t min_tokens = 0;  // stop strings are not looked for in the text of that many
  bool include_stop_text = false;
  bool logprobs = false;
  bool token_ids = false;  // what is taken says which ids it came from
  EndTokenLogprobs end_tokens = EndTokenLogprobs::kOmit;
  tokenizer::SpecialOutput special = tokenizer::SpecialOutput::kSkip;
  ReasoningSplitter::Start reasoning = ReasoningSplitter::Start::kOff;
};

class ChoiceText {
 public:
  // The vocabulary outlives it.
  ChoiceText(const tokenizer::Vocabulary& vocabulary, ChoiceTextOptions options);

  // With `echo`: the prompt comes first.
  void add_echo(std::string_view prompt);
  void add_prompt_token(const EventBatch::PromptToken& token);

  enum class Next : uint8_t { kMore, kStopped };
  // kStopped: a stop string is complete, the engine need not go on. Tokens after it are dropped.
  Next add_token(const EventBatch::Token& token);

  // What another server made of this choice, whose client has its text already: read as
  // add_token() reads and not given out. Not with logprobs. `ends` are the ids that end a text.
  enum class Replayed : uint8_t {
    kGoesOn,
    kEnded,   // by the last id
    kBroken,  // before the last id: no server has sent this
  };
  Replayed replay(std::span<const int32_t> ids, std::span<const int32_t> ends);

  // The engine has ended the choice. `reason` is kStop or kLength.
  void end(engine::FinishReason reason);

  // What is new since the last call, `finish` set after end(). Nullopt when there is nothing to
  // send. Its token ids are all that came since: the text of some may follow with a later part.
  // A log probability is given out with (or after) the first byte of its token's text.
  std::optional<api::Choice> take();

  int64_t completion_tokens() const { return completion_tokens_; }
  int64_t reasoning_tokens() const { return reasoning_tokens_; }

 private:
  struct PendingLogprobs {
    api::TokenLogprobs token;
    int64_t first_byte = 0;  // of its text, in the choice's; -1: of the prompt
  };
  void append_text(std::string text);
  void append_certain(std::string_view text);
  void append_parts(ReasoningSplitter::Parts parts);
  void add_logprobs(const EventBatch::Token& token);
  api::TokenText text_of(int32_t token_id, double logprob) const;
  std::vector<api::TokenLogprobs> take_logprobs();

  const tokenizer::Vocabulary& vocabulary_;
  ChoiceTextOptions options_;
  tokenizer::StreamDecoder decoder_;
  StopMatcher stops_;
  ReasoningSplitter splitter_;

  api::Choice new_;  // its logprobs: those of the prompt
  std::vector<PendingLogprobs> pending_logprobs_;
  std::vector<int32_t> token_ids_;  // since the last take()
  int64_t decoded_bytes_ = 0;       // of the text so far
  int64_t certain_bytes_ = 0;       // of these, not held back for a stop string
  int64_t logprob_characters_ = 0;  // of the log probabilities given out
  int64_t completion_tokens_ = 0;
  int64_t reasoning_tokens_ = 0;
  bool ended_ = false;  // no more text: a stop string or the end
  std::optional<int64_t> end_token_id_;
  std::optional<std::string> stop_text_;
};

}  // namespace sluice::server
