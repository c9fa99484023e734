#include "gateway/limits/prompt_estimate.h"

#include <algorithm>
#include <bit>

namespace sluice::gateway {
namespace {

constexpr int kRatioBits = 24;
constexpr int64_t kRatioOne = int64_t{1} << 16;  // a token for each unit of extent
constexpr int64_t kRatioMax = (int64_t{1} << kRatioBits) - 1;
constexpr int64_t kSamplesMost = (int64_t{1} << 16) - 1;
constexpr int64_t kExtentMax = int64_t{1} << 36;
constexpr int64_t kForgetting = 256;
constexpr int64_t kMargin = 8;

// Of one size, in one word: 16 bits of samples, 24 of each ratio.
struct Bounds {
  int64_t samples = 0;
  int64_t most = 0;  // tokens per extent, in 1/65,536
  int64_t least = 0;
};

Bounds unpack(uint64_t word) {
  const auto ratio = [](uint64_t bits) { return static_cast<int64_t>(bits) & kRatioMax; };
  return {static_cast<int64_t>(word >> (2 * kRatioBits)), ratio(word >> kRatioBits), ratio(word)};
}
uint64_t pack(const Bounds& bounds) {
  return static_cast<uint64_t>(bounds.samples) << (2 * kRatioBits) |
         static_cast<uint64_t>(bounds.most) << kRatioBits | static_cast<uint64_t>(bounds.least);
}

Bounds with_sample(const Bounds& bounds, int64_t ratio) {
  if (bounds.samples == 0) return {1, ratio, ratio};
  return {.samples = std::min(bounds.samples + 1, kSamplesMost),
          .most = std::max(ratio, bounds.most - (bounds.most - ratio) / kForgetting),
          .least = std::min(ratio, bounds.least + (ratio - bounds.least) / kForgetting)};
}

int64_t extent_of(const PromptSize& prompt) {
  const int64_t bytes = std::clamp<int64_t>(prompt.text_bytes, 0, kExtentMax);
  const int64_t messages = std::clamp<int64_t>(prompt.messages, 1, kExtentMax);
  return std::min(bytes + messages * PromptEstimate::kTemplateTokens, kExtentMax);
}

template <size_t N>
size_t size_index(int64_t extent, const std::array<std::atomic<uint64_t>, N>& bounds) {
  const auto octave = static_cast<size_t>(std::bit_width(static_cast<uint64_t>(extent)) - 1);
  return std::min(octave, bounds.size() - 1);
}

}  // namespace

int64_t PromptEstimate::most_possible(const PromptSize& prompt) {
  return extent_of(prompt);
}

TokenRange PromptEstimate::range(const PromptSize& prompt) const {
  const int64_t extent = extent_of(prompt);
  const Bounds bounds =
      unpack(bounds_[size_index(extent, bounds_)].load(std::memory_order_relaxed));
  if (bounds.samples < kSamplesMin) return {.least = 0, .most = extent};
  const int64_t most = bounds.most + bounds.most / kMargin;
  const int64_t least = bounds.least - bounds.least / kMargin;
  return {.least = extent * least / kRatioOne, .most = (extent * most + kRatioOne - 1) / kRatioOne};
}

void PromptEstimate::learn(const PromptSize& prompt, int64_t tokens) {
  const int64_t extent = extent_of(prompt);
  const int64_t ratio =
      std::min(std::clamp<int64_t>(tokens, 0, kExtentMax) * kRatioOne / extent + 1, kRatioMax);
  std::atomic<uint64_t>& word = bounds_[size_index(extent, bounds_)];
  uint64_t before = word.load(std::memory_order_relaxed);
  while (!word.compare_exchange_weak(before, pack(with_sample(unpack(before), ratio)),
                                     std::memory_order_relaxed)) {
  }
}

}  // namespace sluice::gateway
