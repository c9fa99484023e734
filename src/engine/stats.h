// Counters and histograms for /metrics, and the record of one step.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "engine/request.h"
#include "engine/speculation.h"
#include "model/expert_cache.h"

namespace sluice::engine {

// Counts of observations up to each bound (not cumulative), the last one above all bounds.
class Histogram {
 public:
  static constexpr int kBoundsMax = 24;

  Histogram() = default;
  // `bounds` outlives the histogram.
  explicit Histogram(std::span<const double> bounds) : bounds_(bounds) {}

  void add(double value);
  std::span<const double> bounds() const { return bounds_; }
  std::span<const int64_t> counts() const { return std::span(counts_).first(bounds_.size() + 1); }
  int64_t count() const { return count_; }
  double sum() const { return sum_; }

 private:
  std::span<const double> bounds_;
  std::array<int64_t, kBoundsMax + 1> counts_{};
  int64_t count_ = 0;
  double sum_ = 0.0;
};

// Seconds and tokens, with the buckets of vLLM's dashboards.
struct EngineStats {
  EngineStats();

  int64_t queued_tokens = 0;  // known and not computed yet, of all accepted requests
  int64_t waiting = 0;        // accepted, and in no step yet or preempted
  int64_t running = 0;        // hold pages
  bool draining = false;
  int64_t pages = 0;
  int64_t pages_used = 0;      // held by running sequences
  int64_t pages_cached = 0;    // held by the prefix cache alone
  int64_t retry_after_ns = 0;  // mean time between two ends: a place gets free; 0: not known yet

  int64_t prefix_query_tokens = 0;  // prompt tokens looked up in the prefix cache
  int64_t prefix_hit_tokens = 0;    // of these, found
  int64_t prompt_tokens = 0;        // of prompts that were computed to their end
  int64_t prompt_cached_tokens = 0;
  int64_t generation_tokens = 0;
  int64_t preemptions = 0;
  std::array<DraftCounts, kDraftKinds> drafts{};  // by DraftKind
  int64_t targets_met = 0;  // requests with a target that reached all of its parts
  int64_t targets_missed = 0;
  int64_t steps = 0;
  model::ResidentCounts residents;  // of decode steps, where a device has experts of the host
  double step_s = 0;                // of forward passes
  double step_read_bytes = 0;       // that they had to read: weights once a step, KV
  double step_operations = 0;       // that they had to do: products with weights
  double step_limit_s = 0;  // the least that this takes at the machine's limits; 0: not known
  // Of late steps, as they come now; 0: not measured yet.
  double prefill_tokens_per_s = 0;  // of steps that computed prompts
  double decode_tokens_per_s = 0;   // of steps that only decoded, all sequences together
  double decode_step_s = 0;         // time of such a step: what a sequence waits for its next token
  std::array<int64_t, kFinishReasons> finished{};  // by FinishReason

  Histogram time_to_first_token_s;
  Histogram inter_token_s;
  Histogram time_per_output_token_s;  // mean of a request
  Histogram e2e_s;
  Histogram queue_s;
  Histogram prefill_s;
  Histogram decode_s;
  Histogram inference_s;  // prefill and decode
  Histogram request_prompt_tokens;
  Histogram request_generation_tokens;
  Histogram request_max_tokens;
  Histogram iteration_tokens;  // computed in a step
};

// One sequence's part of a step.
struct StepPart {
  RequestId id{};
  int64_t tokens = 0;          // computed in this step, drafts among them
  int64_t context_before = 0;  // tokens whose keys and values were there before
  enum class Kind : uint8_t { kDecode, kPrefill } kind = Kind::kDecode;
};

// What a step did, for tests and diagnosis; `parts` is valid during the call of the observer only.
struct StepRecord {
  int64_t step = 0;
  std::span<const StepPart> parts;
  int64_t admitted = 0;       // sequences that joined in this step
  int64_t cached_tokens = 0;  // that they found in the prefix cache
  int64_t preempted = 0;
  int64_t ended = 0;
  int64_t forward_ns = 0;
  int64_t sampling_ns = 0;
  int64_t other_ns = 0;  // messages, scheduling, events
  int64_t pages_free = 0;
  int64_t pages_cached = 0;
  int64_t pages_used = 0;
};

}  // namespace sluice::engine
