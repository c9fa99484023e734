// How long answers get: the 95th percentile of past outputs per key and model.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

namespace sluice::gateway {

// Counts in buckets of a quarter of an octave, halved when kSamplesMax are in: the last thousand
// or so answers decide. Any thread; nothing is lost when several learn at once.
class OutputHistogram {
 public:
  static constexpr int kOctaves = 20;  // answers of 2^20 tokens and more count as that less 1
  static constexpr int64_t kSamplesMin = 20;  // fewer say nothing of a 95th percentile
  static constexpr int64_t kSamplesMax = 1024;

  void learn(int64_t output_tokens);
  // The upper end of the bucket in which 95 % of the answers are reached: not below the true
  // percentile and less than 25 % above. nullopt: fewer than kSamplesMin answers.
  std::optional<int64_t> p95() const;
  void clear();

  static constexpr int kParts = 4;  // of an octave
  static constexpr int kBuckets = 1 + kOctaves * kParts;
  static size_t bucket_of(int64_t output_tokens);
  static int64_t first_of(size_t bucket);  // the smallest number of tokens that falls into it
  std::array<int64_t, kBuckets> counts() const;

 private:
  void halve();

  std::array<std::atomic<uint16_t>, kBuckets> counts_ = {};
  std::atomic<int32_t> samples_ = 0;
};

// Histograms of the pairs of key and model that answered most lately, in memory of a fixed size.
// A pair has 4 places to go to; of those, the one used longest ago makes room, and who lost its
// place starts anew. A thread that learns for the old pair just then adds its answer to the new.
class OutputEstimates {
 public:
  // Rounded up to a power of two; 192 bytes each.
  explicit OutputEstimates(int64_t pairs_max);
  ~OutputEstimates();

  // What to reserve per minute for one choice: min(output_tokens_max, p95), or output_tokens_max
  // while too little is known. `pair`: a hash of the ids of key and model.
  int64_t likely(uint64_t pair, int64_t output_tokens_max) const;
  // The tokens of one choice (of several: their mean).
  void learn(uint64_t pair, int64_t output_tokens);

 private:
  struct Place;
  static constexpr size_t kWays = 4;

  Place* first_way(uint64_t pair) const;
  Place& place_for(uint64_t pair);

  size_t groups_ = 1;  // a power of two, kWays places each
  std::unique_ptr<Place[]> places_;
  std::atomic<uint32_t> uses_ = 0;
};

}  // namespace sluice::gateway
