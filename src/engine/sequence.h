// The engine's side of a request: its tokens, its pages, how far it is.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/request.h"
#include "engine/sampling.h"
#include "engine/suffix_index.h"
#include "kv/page_cache.h"

namespace sluice::engine {

struct Sequence {
  static constexpr int64_t kRanksOfPriority = int64_t{1} << 52;
  static constexpr float kAcceptanceWeight = 0.1f;

  RequestId id;
  SamplingParams sampling;
  int32_t prompt_logprobs_top = -1;
  int64_t arrival = 0;  // order of arrival
  int32_t priority = 0;
  int64_t deadline_ns = 0;  // 0: none
  Target target;

  std::vector<int32_t> ids;  // the prompt and what was sampled
  int64_t prompt_tokens = 0;
  int64_t tokens_max = 0;     // ids.size() at which it ends
  std::vector<int32_t> ends;  // the model's end tokens, then stop_token_ids
  int64_t model_ends = 0;     // of these, the model's
  TokenHistory history;       // where needs_history(sampling)

  SuffixIndex suffixes;
  Draft draft;  // behind ids; for the next step
  Acceptance acceptance{kAcceptanceWeight};
  // Rows of the last step that are part of the text, from position `first_position` on: the draft
  // layer has not seen them yet.
  struct KeptRows {
    int32_t first_row = 0;
    int32_t rows = 0;
    int64_t first_position = 0;
  } kept;
  int64_t draft_computed = 0;  // tokens whose keys and values of the draft layer are in pages
  int64_t accepted_drafts = 0;
  int64_t rejected_drafts = 0;

  uint64_t name_space = 0;
  std::vector<uint64_t> page_hashes;  // of the full pages of ids
  std::vector<kv::PageId> pages;
  int64_t computed = 0;               // tokens whose keys and values are in pages
  int64_t published = 0;              // leading pages that the prefix cache knows
  int64_t prompt_tokens_emitted = 0;  // PromptTokenEvents
  bool prompt_counted = false;        // in EngineStats::prompt_tokens
  bool finished = false;

  int64_t submitted_ns = 0;
  std::optional<int64_t> started_ns;  // its first step
  std::optional<int64_t> first_token_ns;
  int64_t last_token_ns = 0;
  int64_t cached_tokens = 0;
  int64_t preemptions = 0;

  // Order of being served: by priority, then by arrival.
  int64_t rank() const { return arrival - priority * kRanksOfPriority; }
  int64_t known() const { return static_cast<int64_t>(ids.size()); }
  int64_t outputs() const { return known() - prompt_tokens; }
  kv::PrefixKey key() const { return {name_space, page_hashes, ids}; }

  // Whether log probabilities of prompt tokens are still due: all rows of logits are needed.
  bool owes_prompt_tokens() const {
    return prompt_logprobs_top >= 0 && prompt_tokens_emitted < prompt_tokens;
  }
  // Tokens that must not be sampled at a position.
  std::span<const int32_t> masked_ids(int64_t position) const;
  // Whether `token_id` ends the sequence.
  bool is_end(int32_t token_id) const;
};

// kAccepted, or why the request cannot be served whatever the load.
Admission check_request(const Request& request, const EngineConfig& config);

std::unique_ptr<Sequence> make_sequence(Request request, const EngineConfig& config,
                                        int32_t page_tokens);

}  // namespace sluice::engine
