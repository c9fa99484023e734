// One client's request from its admission by the engine to the end of its answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/error.h"
#include "api/generation_fields.h"
#include "api/generation_response.h"
#include "engine/request.h"
#include "net/http_server.h"
#include "server/choice_text.h"

namespace sluice::server {

enum class AnswerKind : uint8_t { kChat, kCompletion };

struct GenerationPlan {
  AnswerKind kind = AnswerKind::kChat;
  api::AnswerHead head;
  api::StreamFields streaming;
  api::ReasoningField reasoning_field = api::ReasoningField::kReasoningContent;
  int64_t n = 1;                              // choices of each prompt
  std::vector<int64_t> prompt_tokens;         // of each prompt
  bool begun = false;                         // the client has the beginning from another server
  std::vector<ChoiceText> choices;            // prompts · n, those of a prompt together
  std::vector<engine::RequestId> engine_ids;  // of the choices
  std::vector<net::OwnedHeader> headers;      // of the answer
  int64_t started_ns = 0;
};

// Events are added as they come and sent together by flush(): what a batch brought for one
// connection goes out in one write. Belongs to the event loop's thread.
class Generation {
 public:
  // A stream's status and headers go out at once.
  Generation(net::Responder responder, GenerationPlan plan);

  const std::vector<engine::RequestId>& engine_ids() const { return plan_.engine_ids; }
  net::Responder& responder() { return responder_; }

  void add_prompt_token(size_t choice, const EventBatch::PromptToken& token);
  ChoiceText::Next add_token(size_t choice, const EventBatch::Token& token);
  // The choice has come to its end, or the whole answer to an error.
  void add_finish(size_t choice, const engine::FinishEvent& event);

  // kFailed: the answer is complete and is an error; the engine may still be at work for it.
  enum class State : uint8_t { kOpen, kComplete, kFailed };
  // Sends what there is.
  State flush(int64_t now_ns);

  // A comment in a stream that has been silent since `before_ns`, so that nothing on the way to
  // the client takes it for dead.
  void ping(int64_t before_ns, int64_t now_ns);

 private:
  void flush_stream();
  void send_whole(int64_t now_ns);
  void append_event(std::string_view json);
  void append_choice(const api::Choice& choice);
  api::EventUsage event_usage() const;
  api::Usage usage() const;

  net::Responder responder_;
  GenerationPlan plan_;
  std::vector<bool> role_sent_;         // by choice
  std::vector<int64_t> cached_tokens_;  // by prompt
  int64_t accepted_draft_tokens_ = 0;   // of the finished choices
  int64_t rejected_draft_tokens_ = 0;
  size_t finished_ = 0;  // choices
  std::optional<api::Error> error_;
  std::string out_;  // SSE bytes to send
  int64_t last_write_ns_ = 0;
};

}  // namespace sluice::server
