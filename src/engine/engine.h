// The engine: requests in from any thread, events out on the loop thread.
//
// One thread, the loop, is the only owner of sequences and pages. Each step it takes what was
// posted, asks schedule::plan_step() for a batch, runs it, samples, and hands one StepEvents to the
// sink. Without work it sleeps. Every call here posts to it and returns at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/clock.h"
#include "core/result.h"
#include "core/thread_pool.h"
#include "engine/request.h"
#include "engine/speculation.h"
#include "engine/stats.h"
#include "kv/page_change.h"

namespace sluice::kernels {
struct Ops;
}

namespace sluice::engine {

class StepRunner;  // engine/step_runner.h: the model, or a fake one in tests

// Each over its limit has an answer; nothing grows beyond these.
struct EngineLimits {
  int64_t sequences_max = 64;       // that run at once, each with at most one token in a decode
  int64_t queue_max = 1024;         // requests beyond these that may wait; then kQueueFull
  int64_t context_tokens_max = 0;   // prompt and output of one request; ≤ kv_pages × page tokens
  int64_t step_tokens_max = 512;    // computed in one step; > sequences_max
  int64_t chunk_tokens_max = 512;   // of one prompt in one step
  int64_t prefill_tokens_min = 16;  // a TPOT target does not shrink a step's prefill below
  int64_t kv_pages = 0;             // of kernels::kPageTokens tokens each
  // Rows of logits in one step; ≥ sequences_max. What decodes leave of it verifies drafts.
  int64_t logit_rows_max = 64;
  int64_t logprobs_top_max = 20;  // best alternatives of a token, sampled or of a prompt
};

// What the machine can do at most, as kernels::Roof measured it; 0: not known.
struct MachineLimits {
  double read_bytes_per_s = 0;
  double operations_per_s = 0;
};

struct EngineConfig {
  EngineLimits limits;
  int32_t vocab_tokens = 0;            // ids that may be sampled; rows of logits may be longer
  std::vector<int32_t> end_token_ids;  // of the model
  uint64_t cache_namespace = 0;  // contract::model_namespace(): no page of another model is found
  int64_t tpot_target_ns = 0;    // 0: none; else prefill chunks shrink to keep decodes at it
  MachineLimits machine{};       // for the share of it that steps reach
  Speculation speculation = Speculation::kOff;
};

// What a file says of its ids.
struct VocabularyInfo {
  int64_t tokens = 0;         // of the tokenizer
  int64_t logit_columns = 0;  // of the model
  std::span<const int32_t> end_token_ids;
};

// Sets the ids that may be sampled, those that both know, and the end tokens; takes
// logprobs_top_max back to the ids that there are. An Error where an end token could never be
// sampled.
core::Result<void> set_vocabulary(const VocabularyInfo& info, EngineConfig* config);

// Called on the loop thread once a step; must not block and must not call back into stop().
using EventSink = std::function<void(const StepEvents&)>;
// What the prefix cache gained and lost in a step, in order; the same rules.
using PageSink = std::function<void(std::span<const kv::PageChange>)>;
using StepObserver = std::function<void(const StepRecord&)>;

// Everything outlives the engine. The pool is used by the loop thread only.
struct EngineParts {
  StepRunner* runner = nullptr;
  core::ThreadPool* pool = nullptr;   // samples; may be the model's
  const kernels::Ops* ops = nullptr;  // of rows of logits
  const core::Clock* clock = nullptr;
  EventSink sink;
  PageSink pages{};       // may be empty
  StepObserver observer;  // may be empty
};

class Engine {
 public:
  // Starts the loop thread. A limit that contradicts another one is a bug (ASSERT).
  Engine(EngineConfig config, EngineParts parts);
  ~Engine();  // stop()
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // All are accepted or none. Their ids must not be live.
  Admission submit(std::vector<Request> requests);

  // Ends a live request with kCancelled; its pages are free within one step. Unknown and ended ids
  // are ignored (an end and a cancel may cross).
  void cancel(RequestId id);

  // The same with kStop: the server has found a stop string in the text.
  void finish_early(RequestId id);

  // From now on submit() answers kDraining; what was accepted runs to its end.
  void drain();

  // Forgets the prefixes that no running sequence uses.
  void flush_cache();

  // Requests accepted and not finished (their FinishEvent has not returned from the sink).
  int64_t live_requests() const;

  EngineStats stats() const;
  const EngineConfig& config() const;

  // Cancels what is live, delivers their FinishEvents, ends the loop thread. Not on the loop
  // thread.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::engine
