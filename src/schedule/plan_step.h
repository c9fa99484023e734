// What one step computes: a pure function from the sequences' states, a budget and limits.
//
// Decodes come first, then prefills in the order of their ranks, in chunks, under one budget of
// tokens, pages, rows of logits and device time. When pages run out the youngest running sequence
// is preempted: it gives up its pages and is computed again later from its token ids. Steps that
// only decode verify drafts with the tokens, rows and pages that nobody needs.
//
// What holds (tests/schedule/simulation_test.cpp):
//   progress   the oldest running sequence is part of every step, and some sequence is part of
//              every step as long as one is live: preemption only ever takes from younger ones.
//   order      a sequence starts after every one that waited before it, except past those that wait
//              for another's prefix (below), for which it leaves a place.
//   prefixes   a waiting sequence whose next page an older running sequence is about to compute
//              waits for it and takes the page from the cache: a burst with one prefix computes it
//              once.
//   pages      a sequence is admitted only if all its known tokens and one more fit beside what the
//              running ones still need for theirs, and a page of growth for each of these.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "schedule/cost_model.h"

namespace sluice::schedule {

enum class LogitRows : uint8_t {
  kLast,  // one, of the last known token, when the step reaches it
  kAll,   // one of each computed token (log probabilities of a prompt)
};

struct SequenceState {
  int64_t rank = 0;             // order of service: the smaller goes first and is called older
  int64_t known_tokens = 0;     // ids: the prompt and what was sampled
  int64_t computed_tokens = 0;  // in pages; of a waiting sequence: in cached pages it would get
  int64_t pages = 0;            // these pages
  int64_t idle_pages = 0;       // waiting: of these, now counted in Budget::pages
  LogitRows rows = LogitRows::kLast;
  int64_t drafts = 0;  // running: tokens that a decode may verify behind its own
  std::span<const uint64_t> page_hashes{};  // of the full pages of the known tokens

  int64_t missing() const { return known_tokens - computed_tokens; }
};

struct Budget {
  int64_t tokens = 0;
  int64_t pages = 0;  // free, or cached and held by nobody
  int64_t logit_rows = 0;
  double device_ns = 0.0;  // of a step with decodes; 0: no limit
};

struct ScheduleLimits {
  int64_t sequences_max = 0;       // running
  int64_t chunk_tokens_max = 0;    // of one sequence in one step
  int64_t prefill_tokens_min = 0;  // that a step with prefills may have whatever device_ns says
  int64_t page_tokens = 0;
};

// Completes the state of a waiting sequence by the cached pages that it would get: computed_tokens,
// pages, idle_pages. Asked for only where the sequence may start, so not behind one that cannot.
using PrefixLookup = std::function<void(int64_t index, SequenceState* waiting)>;

struct StepInput {
  std::span<const SequenceState> running;  // oldest first
  std::span<SequenceState> waiting;        // oldest first; more than the free places are not read
  PrefixLookup look_up{};                  // empty: the waiting states are complete
  Budget budget;
  ScheduleLimits limits;
  StepCost cost;
};

struct PlannedPart {
  int64_t index = 0;  // into StepInput::running or ::waiting
  int64_t tokens = 0;
  int64_t drafts = 0;  // beside them
};

// Either a batch, or the index of a running sequence to preempt before asking again.
struct StepPlan {
  std::vector<PlannedPart> running;
  std::vector<PlannedPart> admitted;
  std::optional<int64_t> preempt;
};

// `plan` is overwritten; its memory is reused. Budget::tokens and ::logit_rows are at least
// sequences_max + 1 and sequences_max; a sequence alone fits into all pages.
void plan_step(const StepInput& input, StepPlan* plan);

}  // namespace sluice::schedule
