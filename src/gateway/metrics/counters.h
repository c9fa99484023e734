// Numbers that one thread counts and another reads: no locked instruction, no lock on the way of a
// request. Each data loop has its own LoopMetrics; the sums are made when somebody scrapes.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "contract/usage_event.h"
#include "gateway/limits/limit.h"

namespace sluice::gateway {

// One thread adds, any reads.
class Counter {
 public:
  void add(int64_t count = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  }
  int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

// Of durations, with bounds in seconds that suit both a first token and a whole answer.
inline constexpr std::array<double, 18> kDurationBounds_s = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320};

class DurationHistogram {
 public:
  void record_ns(int64_t duration_ns);
  void add_to(std::array<int64_t, kDurationBounds_s.size() + 1>* counts, int64_t* sum_ns) const;

 private:
  std::array<Counter, kDurationBounds_s.size() + 1> counts_;  // the last: over every bound
  Counter sum_ns_;
};

inline constexpr int kValveDecisions = 9;  // contract::ValveDecision

struct ModelMetrics {
  std::array<Counter, contract::kOutcomes> requests;  // by Outcome
  std::array<Counter, contract::kUnits> quantities;   // by Unit
  std::array<Counter, kValveDecisions> decisions;
  Counter target_missed;
  Counter amount_nano;
  Counter cost_nano;
  DurationHistogram ttft;
  DurationHistogram tpot;
  DurationHistogram total;
};

// Why a request was turned away before limits were asked.
enum class AuthRefusal : uint8_t { kNoKey, kUnknownKey, kRevoked, kExpired, kNetwork, kModel };
inline constexpr int kAuthRefusals = 6;

class LoopMetrics {
 public:
  static constexpr size_t kModelsMax = 1024;  // further ones are counted as "other"

  // The loop's thread: everything that the event says.
  void count(const contract::UsageEvent& event);

  Counter limits_allowed;
  std::array<Counter, kDimensions> limits_refused;  // by Dimension
  std::array<Counter, kAuthRefusals> auth_refused;
  Counter upstream_retries;
  Counter streams_resumed;  // handed over to another replica
  Counter running;          // add(1) and add(-1): requests not answered yet
  Counter streaming;        // of these, those whose first byte has left
  Counter waiting;          // of these, held back by the valve
  Counter journal_refused;  // records that could not be kept
  DurationHistogram added;  // from the arrival to its being sent, of those that did not wait

  // Any thread.
  template <typename Visitor>
  void for_each_model(const Visitor& visit) const {
    std::lock_guard lock(mutex_);
    for (const auto& [id, metrics] : models_) visit(std::string_view(id), *metrics);
  }

 private:
  ModelMetrics& model(std::string_view id);  // the loop's thread

  mutable std::mutex mutex_;  // around inserting; the loop's thread alone inserts
  std::map<std::string, std::unique_ptr<ModelMetrics>, std::less<>> models_;
};

}  // namespace sluice::gateway
