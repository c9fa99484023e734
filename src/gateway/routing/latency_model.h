// When a replica would answer: time to first token, time per token after it, the whole answer, each
// with the spread that was seen. Pure functions over a ReplicaView; what is learnt stands in
// LogRatio and TpotSurface, which every data loop may update.
//
// ttft  = round trip + wait until ready + wait for a place + (queued + missing tokens) ÷ prefill
// rate tpot  = surface(running streams), monotone: Speed's line, corrected where streams were seen
// to end total = ttft + (output − 1) · tpot Each is multiplied by the learnt mean of actual ÷
// predicted; ln(actual ÷ predicted) is taken as normal, so that the chance of a limit is Φ((ln
// limit − ln predicted) ÷ spread).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "contract/snapshot.h"

namespace sluice::gateway {

// Mean and spread of ln(actual ÷ predicted), old observations fading (a half-life of about 30).
// Before any: mean 0 and the spread given. Lock-free.
class LogRatio {
 public:
  struct Value {
    float mean = 0.0F;
    float variance = 0.0F;
  };

  explicit LogRatio(float spread_before);
  void add(double actual, double predicted);  // both > 0, else nothing is learnt
  void forget();                              // back to what was before any
  Value value() const;
  int64_t count() const { return count_.load(std::memory_order_relaxed); }

 private:
  float spread_before_;
  std::atomic<Value> value_;
  std::atomic<int64_t> count_ = 0;
};

// Time per output token over the number of running streams. Knots at 1, 2, 4 … 1024 streams hold
// actual ÷ Speed's line; between them it is linear, and never falls with more streams.
class TpotSurface {
 public:
  static constexpr int kKnots = 11;

  explicit TpotSurface(const contract::Speed& speed);
  void add(double streams, double actual_ns);  // the mean number of streams while it was measured
  void forget();
  double at_ns(double streams) const;

 private:
  double line_ns(double streams) const;
  void draw();

  double alone_ns_;
  double per_stream_ns_;                                // more for each further stream
  std::array<std::atomic<float>, kKnots> ratios_{};     // 0: nothing seen
  std::array<std::atomic<double>, kKnots> curve_ns_{};  // drawn through them, never falling
};

struct TokenEstimate {
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 1;      // expected
  int64_t output_tokens_max = 1;  // at most; money is reserved for these
  int64_t prompt_tokens_max = 0;  // the same
  int64_t compute_us_max = 0;     // the same
};

inline constexpr int64_t kNewsNever = int64_t{1} << 60;

// One replica at one moment, as a decision sees it.
struct ReplicaView {
  int64_t round_trip_ns = 0;
  int64_t ready_in_ns = 0;            // 0: ready
  double prefill_tokens_per_s = 1.0;  // > 0
  int64_t queued_prompt_tokens = 0;   // sent, first token not seen
  int64_t streams = 0;                // sent, not ended
  int64_t streams_max = 1;            // ≥ 1; more wait for a place
  int64_t output_tokens_left = 0;     // expected of those streams
  double tpot_next_ns = 0.0;          // with one stream more
  double tpot_full_ns = 0.0;          // with streams_max
  double kv_share = 0.0;              // of its KV in use; 0 where it does not say
  double cache_share = 0.0;           // the same with what its prefix cache keeps
  int64_t news_age_ns = kNewsNever;   // since its own account of its load was heard
  double pool_share = 0.0;            // of its pool's capacity in use; 1: no room for this request
  int64_t pool_wait_ns = 0;           // until there is
  LogRatio::Value ttft;
  LogRatio::Value tpot;
  LogRatio::Value total;
  // Of the promised paces of all that run there, with the request that is decided on: the misses
  // that it adds, in units of what is allowed. Where it is known it replaces the TPOT's own chance.
  std::optional<double> misses_added;
};

struct Latency {
  double ttft_ns = 0.0;
  double tpot_ns = 0.0;
  double total_ns = 0.0;
};

// Without the learnt ratios: what is held against the actual times when a request ends.
Latency predict_raw(const ReplicaView& view, const TokenEstimate& tokens, int64_t cached_tokens);

// With them.
Latency predict(const ReplicaView& view, const TokenEstimate& tokens, int64_t cached_tokens);

// How long until it is ready, one of its places is free, and its pool takes one more.
int64_t place_wait_ns(const ReplicaView& view);

// How full a replica is: the largest of streams ÷ streams_max, KV ÷ 0.8 and its pool's share. At
// 1.0 it gets no more: what is beyond would wait in its queue, make it preempt, or be turned away.
double saturation(const ReplicaView& view);

// P(actual ≤ limit) of a part predicted at `predicted_ns` with ln-spread sqrt(variance).
double chance_within(double predicted_ns, float variance, int64_t limit_ns);

// Φ, the standard normal distribution.
double normal_share(double z);

// 1 − q of a statistic: 0.01 for p99, 0.5 for p50; for a mean 1 − Φ(spread ÷ 2), where the
// predicted mean is just the limit.
double miss_share_allowed(contract::Statistic statistic, float variance);

// The miss that a target's parts may have together, in units of what they are allowed:
// Σ (1 − P(part ≤ limit)) ÷ (1 − q of its statistic). At most 1: P(all parts met) ≥ q, whatever the
// correlation. q: 0.99 for p99, 0.5 for p50; for a mean Φ(spread ÷ 2), where the predicted
// mean is just the limit. 0 where nothing is promised.
double expected_miss(const contract::Target& target, const Latency& predicted,
                     const ReplicaView& view);

bool has_target(const contract::Target& target);
// Of the parts that promise something: p99, else p50, else mean.
contract::Statistic strictest_statistic(const contract::Target& target);

// Is the target met by what happened? Means and percentiles alike: by this one request.
bool target_met(const contract::Target& target, const Latency& actual);

}  // namespace sluice::gateway
