#include "gateway/limits/output_estimate.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "core/rng.h"

namespace sluice::gateway {

size_t OutputHistogram::bucket_of(int64_t output_tokens) {
  constexpr int64_t kTokensMax = (int64_t{1} << kOctaves) - 1;
  const auto tokens = static_cast<uint64_t>(std::clamp<int64_t>(output_tokens, 0, kTokensMax));
  if (tokens == 0) return 0;
  const auto octave = static_cast<size_t>(std::bit_width(tokens) - 1);
  const size_t part = static_cast<size_t>((tokens * kParts) >> octave) - kParts;
  return 1 + octave * kParts + part;
}

int64_t OutputHistogram::first_of(size_t bucket) {
  if (bucket == 0) return 0;
  const size_t octave = (bucket - 1) / kParts;
  const auto part = static_cast<int64_t>((bucket - 1) % kParts) + kParts;
  return ((part << octave) + kParts - 1) / kParts;
}

std::array<int64_t, OutputHistogram::kBuckets> OutputHistogram::counts() const {
  std::array<int64_t, kBuckets> counts;
  for (size_t i = 0; i < counts.size(); ++i) counts[i] = counts_[i].load(std::memory_order_relaxed);
  return counts;
}

void OutputHistogram::learn(int64_t output_tokens) {
  counts_[bucket_of(output_tokens)].fetch_add(1, std::memory_order_relaxed);
  if (samples_.fetch_add(1, std::memory_order_relaxed) + 1 == kSamplesMax) halve();
}

// One thread at a time: only the one that counted kSamplesMax comes here.
void OutputHistogram::halve() {
  int32_t removed = 0;
  for (auto& count : counts_) {
    const auto half = static_cast<uint16_t>(count.load(std::memory_order_relaxed) / 2);
    count.fetch_sub(half, std::memory_order_relaxed);
    removed += half;
  }
  samples_.fetch_sub(removed, std::memory_order_relaxed);
}

std::optional<int64_t> OutputHistogram::p95() const {
  const std::array<int64_t, kBuckets> counts = this->counts();
  const int64_t samples = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  if (samples < kSamplesMin) return std::nullopt;
  const int64_t needed = (samples * 95 + 99) / 100;
  int64_t reached = 0;
  size_t bucket = 0;
  while ((reached += counts[bucket]) < needed) ++bucket;
  return first_of(bucket + 1) - 1;
}

void OutputHistogram::clear() {
  for (auto& count : counts_) count.store(0, std::memory_order_relaxed);
  samples_.store(0, std::memory_order_relaxed);
}

struct OutputEstimates::Place {
  std::atomic<uint64_t> pair = 0;  // 0: free
  std::atomic<uint32_t> used = 0;  // uses_ at the last learn()
  OutputHistogram histogram;
};

OutputEstimates::OutputEstimates(int64_t pairs_max)
    : groups_(std::max<size_t>(1, std::bit_ceil(static_cast<size_t>(pairs_max)) / kWays)),
      places_(std::make_unique<Place[]>(groups_ * kWays)) {}

OutputEstimates::~OutputEstimates() = default;

OutputEstimates::Place* OutputEstimates::first_way(uint64_t pair) const {
  return &places_[(core::random_bits(pair, 0) & (groups_ - 1)) * kWays];
}

OutputEstimates::Place& OutputEstimates::place_for(uint64_t pair) {
  Place* const ways = first_way(pair);
  Place* oldest = ways;
  const uint32_t now = uses_.load(std::memory_order_relaxed);
  for (size_t i = 0; i < kWays; ++i) {
    const uint64_t held = ways[i].pair.load(std::memory_order_relaxed);
    if (held == pair) return ways[i];
    // Ages, not times: the count of uses may pass 2^32.
    if (held == 0 || now - ways[i].used.load(std::memory_order_relaxed) >
                         now - oldest->used.load(std::memory_order_relaxed)) {
      oldest = &ways[i];
    }
    if (held == 0) break;
  }
  oldest->pair.store(pair, std::memory_order_relaxed);
  oldest->histogram.clear();
  return *oldest;
}

void OutputEstimates::learn(uint64_t pair, int64_t output_tokens) {
  Place& place = place_for(std::max<uint64_t>(pair, 1));
  place.used.store(uses_.fetch_add(1, std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  place.histogram.learn(output_tokens);
}

int64_t OutputEstimates::likely(uint64_t pair, int64_t output_tokens_max) const {
  const uint64_t wanted = std::max<uint64_t>(pair, 1);
  Place* const ways = first_way(wanted);
  for (size_t i = 0; i < kWays; ++i) {
    if (ways[i].pair.load(std::memory_order_relaxed) != wanted) continue;
    return std::min(output_tokens_max, ways[i].histogram.p95().value_or(output_tokens_max));
  }
  return output_tokens_max;
}

}  // namespace sluice::gateway
