// The events of GET /internal/events: what an engine's prefix cache holds and how busy it is.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/error.h"

namespace sluice::api {

struct EngineLoad {
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t queued_prompt_tokens = 0;  // known and not computed yet, of all requests
  int64_t pages = 0;
  int64_t pages_used = 0;    // by running requests
  int64_t pages_cached = 0;  // by the prefix cache alone
  // Of late, as it comes now; 0: not measured yet.
  double prefill_tokens_per_s = 0;
  double decode_tokens_per_s = 0;  // of all requests together
  double decode_step_ms = 0;       // what a request waits for its next token
  bool operator==(const EngineLoad&) const = default;
};

struct EngineEvent {
  std::string_view epoch;  // of this process: sequence numbers of another one mean nothing
  uint64_t sequence = 0;
  bool snapshot =
      false;  // `added` are all pages that there are; else in addition to the last event
  std::span<const uint64_t> added;  // contract/block_hash.h, 16 hexadecimal digits each
  std::span<const uint64_t> removed;
  uint64_t name_space = 0;  // of the model's pages, without a salt
  int64_t page_tokens = 0;
  int64_t context_tokens_max = 0;
  bool draining = false;
  EngineLoad load;
};

// The same as a gateway receives it.
struct HeardEngineEvent {
  std::string epoch;
  uint64_t sequence = 0;
  bool snapshot = false;
  std::vector<uint64_t> added;
  std::vector<uint64_t> removed;
  uint64_t name_space = 0;
  int64_t page_tokens = 0;
  int64_t context_tokens_max = 0;  // of prompt and answer; 0: it does not say
  bool draining = false;
  EngineLoad load;
};
// Error: no JSON, or a member is missing or of another type.
Parsed<HeardEngineEvent> parse_engine_event(std::string_view text);

// {"epoch","sequence","snapshot","namespace","page_tokens","max_model_len","state","load":{…},
// "added","removed"}
std::string to_json(const EngineEvent& event);

}  // namespace sluice::api
