// What is known of one replica at work: what was sent to it and has not ended, how fast it was,
// whether it answers. Atomics throughout; every data loop reads and writes, none waits.
// It hangs on the replica's id and outlives snapshots.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "contract/snapshot.h"
#include "gateway/limits/output_estimate.h"
#include "gateway/routing/compute_shares.h"
#include "gateway/routing/health.h"
#include "gateway/routing/latency_model.h"
#include "gateway/routing/pace_model.h"
#include "gateway/routing/running_streams.h"

namespace sluice::gateway {

// From GET /internal/events, kind "load".
struct EngineLoad {
  int64_t running = 0;               // sequences that decode or prefill
  int64_t waiting = 0;               // sequences in its queue
  int64_t queued_prompt_tokens = 0;  // of both, not yet computed
  int64_t pages_used = 0;            // held by sequences
  int64_t pages_cached = 0;          // held by its prefix cache alone
  int64_t pages = 0;                 // of its arena
  contract::ReplicaState state = contract::ReplicaState::kReady;
  int64_t ready_in_ns = 0;  // predicted; 0 when ready
};

// A request as it is sent to a replica.
struct Sending {
  TokenEstimate tokens = {};
  int64_t cached_tokens = 0;       // of the prompt, expected to be in its prefix cache
  Latency raw = {};                // predicted, without the learnt ratios
  contract::TargetPart tpot = {};  // that it shall meet
  bool is_sold_by_time = false;
};

// One request at one replica, for the tracker's books. Made when it is sent.
struct SentRequest {
  int64_t missing_tokens = 0;  // of the prompt, expected to be computed
  int64_t output_tokens = 0;   // expected
  int64_t sent_ns = 0;
  int64_t first_token_ns = 0;  // 0: none yet
  int64_t last_token_ns = 0;
  int64_t streams_at_start = 0;  // itself included
  int64_t tpot_limit_ns = 0;     // of its target; 0: none
  Latency raw;                   // predicted, without the learnt ratios
  int32_t place = RunningStreams::kNowhere;
  int64_t tokens_seen = 0;
  int64_t tokens_before = 0;         // of all streams of the replica, until its first token
  int64_t prompt_tokens_before = 0;  // the same
  bool is_sold_by_time = false;
  int64_t share_before_ns = 0;  // of one that is: ComputeShares
  int64_t compute_ns = 0;       // when it has ended: what it had
  enum class Learn : uint8_t { kFurther, kAnew } learn = Learn::kFurther;

  int64_t tokens_left() const { return std::max<int64_t>(output_tokens - tokens_seen, 0); }
};

class ReplicaTracker {
 public:
  ReplicaTracker(const contract::Replica& replica, int64_t pool_round_trip_ns);
  ReplicaTracker(const ReplicaTracker&) = delete;
  ReplicaTracker& operator=(const ReplicaTracker&) = delete;

  const std::string& id() const { return id_; }

  // ---- of requests; any data loop
  SentRequest begin(const Sending& sending, int64_t now_ns);
  void first_token(SentRequest* request, int64_t now_ns);
  // So many tokens of its answer have come until now.
  void tokens(SentRequest* request, int64_t count, int64_t now_ns);
  // Once for each begin(). `output_tokens` were received; speed is learnt only from kComplete.
  void end(SentRequest* request, int64_t output_tokens, UpstreamOutcome outcome, int64_t now_ns);

  // ---- of the replica itself; the loop that watches it
  void on_load(const EngineLoad& load, int64_t now_ns);
  void on_probe(ProbeResult result, int64_t round_trip_ns, int64_t now_ns);
  bool probe_due(int64_t now_ns) const { return health_.probe_due(now_ns); }

  // ---- for decisions
  ReplicaView view(int64_t now_ns) const;
  // What a request would add to the expected misses of all promised paces there (forecast.h).
  // `view`: of this moment. nullopt: too little is known, or nothing runs there.
  std::optional<double> misses_added(const ReplicaView& view, int64_t missing_tokens,
                                     const contract::TargetPart& tpot, int64_t now_ns) const;
  // Time per token of the streams that began last and have shown one: what has become slow shows
  // it long before its streams end. 0: too few run.
  double latest_tpot_ns(int64_t now_ns) const;
  contract::ReplicaState state() const { return state_.load(std::memory_order_relaxed); }
  Health& health() { return health_; }
  const Health& health() const { return health_; }
  int64_t streams() const { return streams_.load(std::memory_order_relaxed); }
  // A request without a token for this long after the last one hangs: end it with kStalled.
  int64_t stall_after_ns() const;
  // Recent TTFT, for comparison within its pool; 0: none seen.
  double recent_ttft_ns() const { return recent_ttft_ns_.load(std::memory_order_relaxed); }

 private:
  // While nothing runs there, one request may find out how fast it is: when its speed is hardly
  // known, or was bad when it was last seen, long ago.
  enum class Trial : uint8_t { kNone, kHardlyKnown, kSlowLongAgo };
  Trial trial(int64_t now_ns) const;
  void learn(const SentRequest& request, int64_t output_tokens, int64_t now_ns);
  void learn_pace(const SentRequest& request, int64_t output_tokens);

  const std::string id_;
  const contract::Speed speed_;
  const TpotSurface line_;  // as its Speed says
  TpotSurface surface_;
  PaceModel pace_;
  OutputHistogram lengths_;  // of complete answers
  RunningStreams running_;
  ComputeShares compute_;
  LogRatio ttft_ratio_;
  LogRatio tpot_ratio_;
  LogRatio total_ratio_;
  Health health_;
  std::atomic<double> round_trip_ns_;
  std::atomic<int64_t> queued_prompt_tokens_ = 0;
  std::atomic<int64_t> streams_ = 0;
  std::atomic<int64_t> output_tokens_left_ = 0;
  std::atomic<int64_t> output_tokens_ = 0;  // of all streams that there have been
  std::atomic<int64_t> prompt_tokens_ = 0;  // the same, computed until their first tokens
  std::atomic<int64_t> learnt_ns_ = 0;      // when a speed was last learnt
  std::atomic<bool> slow_ = false;          // then: well below what its Speed says
  std::atomic<double> recent_ttft_ns_ = 0.0;
  // As the engine said it last.
  std::atomic<int64_t> heard_ns_ = 0;  // 0: never
  std::atomic<int64_t> engine_streams_ = 0;
  std::atomic<int64_t> engine_prompt_tokens_ = 0;
  std::atomic<float> kv_share_ = 0.0F;
  std::atomic<float> cache_share_ = 0.0F;
  std::atomic<contract::ReplicaState> state_;
  std::atomic<int64_t> ready_at_ns_ = 0;
};

}  // namespace sluice::gateway
