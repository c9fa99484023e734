// How long answers get: the 95th percentile of past outputs per key and model.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

namespace sluice::gateway {

// Counts in buckets a quarter of an octave wide; halved when kSamplesMax are in, so that the last
// thousand or so decide. Any thread; two that halve at once may lose a few counts, no more.
class OutputHistogram {
 public:
  static constexpr int kBuckets = 80;         // up to 2^20 tokens
  static constexpr int64_t kSamplesMin = 20;  // fewer say nothing of a 95th percentile
  static constexpr int64_t kSamplesMax = 1024;

  void learn(int64_t output_tokens);
  // The upper end of the bucket in which 95 % are reached: at most 19 % above the true one, never
  // below it. nullopt: too few samples.
  std::optional<int64_t> p95() const;
  void clear();

 private:
  std::array<std::atomic<uint16_t>, kBuckets> counts_ = {};
};

// Histograms of the keys and models used most lately, in memory of a fixed size: 4 places for each
// hash, of which the one used longest ago makes room. A pair that lost its place starts anew.
class OutputEstimates {
 public:
  explicit OutputEstimates(int64_t pairs_max);  // rounded up to a power of two; ~200 bytes each

  // `pair`: a hash of the ids of key and model that outlives snapshots.
  std::optional<int64_t> p95(uint64_t pair) const;
  void learn(uint64_t pair, int64_t output_tokens);

  // What to reserve per minute: min(max_tokens, p95) of each of n choices.
  int64_t likely(uint64_t pair, int64_t output_tokens_max) const;

 private:
  struct Place;
  static constexpr int64_t kWays = 4;

  int64_t sets_ = 0;
  std::unique_ptr<Place[]> places_;
  std::atomic<uint32_t> age_ = 0;
};

}  // namespace sluice::gateway
