// What a model's valve has learnt: how much expected miss it may allow (its q, corrected by what
// became of its decisions), and whether local compute is saturated, with hysteresis. Any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "gateway/routing/valve.h"

namespace sluice::gateway {

enum class Met : uint8_t { kNo, kYes };

class ValveState {
 public:
  static constexpr double kOpenAt = 1.0;
  static constexpr double kCloseAt = 0.7;
  static constexpr int64_t kCloseHeldNs = 10'000'000'000;

  // A request with a target ended. A miss makes the valve stricter, an answer in time looser, in
  // the proportion in which the share of misses comes to rest at two fifths of what the statistic
  // allows (adaptive conformal inference, Gibbs and Candès 2021, on a logarithmic scale). A miss of
  // who went elsewhere says nothing of local compute. Easy answers take 1 − q as far as 8 %,
  // beyond only decisions near the edge count: a quiet night shall not open it for all. At first it
  // feels its way in larger steps: a hundred answers say little about one in a hundred.
  void on_outcome(const LocalChance& chance, Met met);

  // The saturation of the model's local pools (local_saturation), with each decision.
  void on_saturation(double saturation, int64_t now_ns);

  ValveView view() const;

 private:
  std::array<std::atomic<double>, kStatistics> log_allowed_{};  // by contract::Statistic
  std::array<std::atomic<int64_t>, kStatistics> missed_{};      // answers
  std::atomic<bool> open_ = false;
  std::atomic<double> saturation_ = 0.0;
  std::atomic<int64_t> below_since_ns_ = 0;  // 0: not below kCloseAt
};

// Mean saturation of local candidates, weighted by their decode rate with all places taken; each
// counts at most kOpenAt, so that none hides the room of another. 0 without local candidates.
double local_saturation(std::span<const Candidate> candidates);

}  // namespace sluice::gateway
