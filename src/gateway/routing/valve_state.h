// What a model's valve has learnt: how much expected miss it may allow (its q, corrected by what
// became of its decisions), and whether local compute is saturated, with hysteresis. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "gateway/routing/valve.h"

namespace sluice::gateway {

class ValveState {
 public:
  static constexpr double kOpenAt = 1.0;
  static constexpr double kCloseAt = 0.7;
  static constexpr int64_t kCloseHeldNs = 10'000'000'000;

  // A local request with a target ended. `expected_miss` is its answer's; `met` says what came.
  // More misses than expected make it stricter, fewer looser: multiplicatively, so that a run of
  // easy requests (expected miss near 0) changes nothing.
  void on_outcome(double expected_miss, bool met);

  // The saturation of the model's local pools (local_saturation), with each decision.
  void on_saturation(double saturation, int64_t now_ns);

  ValveView view() const;

 private:
  std::atomic<double> log_allowed_ = 0.0;
  std::atomic<bool> open_ = false;
  std::atomic<int64_t> below_since_ns_ = 0;  // 0: not below kCloseAt
};

// Mean saturation of local candidates, weighted by their decode rate with all places taken; each
// counts at most kOpenAt. 0 without local candidates.
double local_saturation(std::span<const Candidate> candidates);

}  // namespace sluice::gateway
