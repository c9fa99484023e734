// What a gateway reads of a request that it passes on, and the few bytes of it that it changes. All
// other fields pass as they are, also those that nobody here knows.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/error.h"

namespace sluice::api {

enum class RelayedKind : uint8_t { kChat, kCompletion, kEmbedding };

// A part of the body. begin == end == 0: it is not there.
struct ByteRange {
  size_t begin = 0;
  size_t end = 0;
  bool found() const { return end != 0; }
};

struct WishedPart {
  std::optional<int64_t> limit_ns;
  std::optional<std::string> statistic;  // "p99" …: the gateway knows the names
};

// What a client may ask of the gateway in its object "sluice" (docs/api.md). Times in nanoseconds.
struct RelayedWishes {
  WishedPart ttft;  // parts of its target
  WishedPart tpot;
  WishedPart total;
  std::optional<int64_t> deadline_ns;  // from its arrival; then it is refused
  std::optional<int32_t> priority;
  std::optional<std::string> policy;      // "local_only" …: the gateway knows the names
  std::optional<std::string> data_class;  // "private" …
  std::string session;
};

struct RelayedRequest {
  std::string model;  // "": it names none
  bool stream = false;
  bool include_usage = false;
  std::optional<int64_t> output_tokens_max;  // of one choice
  int64_t choices = 1;                       // n, at least best_of
  int64_t prompts = 1;                       // of a completion or embedding: a list's length
  int64_t messages = 0;
  // UTF-8 bytes of all texts that a prompt may be made of, tools and schemas too; a token id counts
  // as one.
  int64_t text_bytes = 0;
  std::optional<RelayedWishes> wishes;
  std::string cache_salt;  // the client's own; "": none
  // An answer to it can be continued from its text: nothing prescribes its form, and it does not
  // continue something itself.
  bool continuable = true;

  ByteRange model_value;     // with its quotes
  ByteRange stream_options;  // the value: an object or null
  ByteRange include_usage_value;
  ByteRange wishes_member;  // key, value and one comma
  ByteRange cache_salt_value;
  ByteRange prompt_value;  // messages, prompt or input
  ByteRange max_tokens_value;
  ByteRange max_completion_tokens_value;
  size_t object_begin = 0;  // behind the first '{'
  bool object_empty = false;
};

// Reads bodies of one kind of request after another with buffers that are kept. One thread.
class RelayedRequestParser {
 public:
  RelayedRequestParser();
  ~RelayedRequestParser();

  // An Error names the field. Refused too: a key given twice where it is read here, anything that
  // is not JSON, nesting over 64.
  Parsed<RelayedRequest> parse(RelayedKind kind, std::string_view body);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// What the gateway tells a Sluice engine with a request (docs/gateway.md).
struct RelayedExtension {
  int64_t ttft_ns = 0;  // 0: nothing is asked
  int64_t tpot_ns = 0;
  int64_t total_ns = 0;
  int32_t priority = 0;
  int64_t deadline_ns = 0;  // from now; 0: none
  std::string_view session = {};
  std::string_view cache_salt = {};
  std::span<const int32_t> resume_ids = {};
  bool token_ids = false;  // each event says which it came from
};

// An answer that broke off shall go on behind the text that its client has.
struct TextContinuation {
  enum class Form : uint8_t {
    kFinalMessage,  // the last message is left open: continue_final_message
    kPrefix,        // the last message says "prefix": true
  } form = Form::kFinalMessage;
  std::string_view text = {};  // as it stands in JSON, without quotes
  int64_t output_tokens = 0;   // of it: so many fewer may follow
};

struct BodyChanges {
  std::string_view model = {};                     // another name; empty: the client's
  const RelayedExtension* extension = nullptr;     // null: not a Sluice engine
  std::string_view cache_salt = {};                // in place of the client's; empty: that stays
  const TextContinuation* continuation = nullptr;  // null: from the beginning; of a continuable one
};
// `out`: `body` with the changes; where it streams, include_usage is on. The client's object
// "sluice" is out.
void change_body(std::string_view body, const RelayedRequest& request, const BodyChanges& changes,
                 std::string* out);

}  // namespace sluice::api
