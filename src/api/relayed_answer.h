// What a gateway reads of an answer that it passes on: usage, whether a token came, how it ended.
// By json_scan.h, not by a parser: an answer is looked at once and passed on as it came.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::api {

struct RelayedUsage {
  int64_t prompt_tokens = 0;  // with the cached
  int64_t cached_tokens = 0;
  int64_t completion_tokens = 0;  // with the reasoning
  int64_t reasoning_tokens = 0;
};

struct RelayedAnswer {
  std::optional<RelayedUsage> usage;
  bool has_choices = false;  // not the chunk that brings the usage alone
  bool has_output = false;   // text, reasoning, a tool call, a vector
  int64_t text_bytes = 0;    // of text, reasoning and tool calls, as they stand in the JSON
  bool is_error = false;     // {"error": …}
  bool has_token_ids = false;
  std::string finish_reason;  // of the first choice that says one; "" none yet
  int32_t finished = 0;       // choices that say one
};

// A whole answer or one event's data. Token ids that a Sluice engine says the first choice came
// from are appended to `token_ids`.
RelayedAnswer read_relayed_answer(std::string_view json, std::vector<int32_t>* token_ids);

// What all chunks of a stream share, as it stands in one of them, with its quotes; "" where it does
// not.
struct StreamIdentity {
  std::string id = {};
  std::string object = {};
  std::string created = {};
  std::string model = {};
  bool known() const { return !id.empty(); }
};
StreamIdentity stream_identity(std::string_view json);
// The chunk with another identity; it stays the same kind of object.
std::string with_identity(std::string_view json, const StreamIdentity& identity);
// The last chunk of a stream, which says its usage and nothing else.
std::string usage_chunk(const StreamIdentity& identity, const RelayedUsage& usage);
// The text of the first choice as it stands in the chunk, without quotes; "" where it has none.
std::string_view text_in_chunk(std::string_view json);
// The chunk with so many tokens in its usage counted as answer instead of prompt: the replica was
// given them to go on behind.
std::string with_answer_tokens(std::string_view json, int64_t tokens);
// The chunk without its choices' "token_ids": they are for the gateway alone.
std::string without_token_ids(std::string_view json);

}  // namespace sluice::api
