// How many tokens a prompt of so many bytes has at most: learnt per model from settled requests.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace sluice::gateway {

// A prompt as the edge sees it before anything is tokenized.
struct PromptSize {
  int64_t text_bytes = 0;  // UTF-8 bytes of all texts, as decoded from JSON
  int64_t messages = 0;    // of a chat; 1 for a completion. A template adds tokens to each.
};

struct TokenRange {
  int64_t least = 0;
  int64_t most = 0;  // what to reserve
};

// One per model; all threads share it. Prompts are told apart by their size (powers of two), since
// what a chat template adds weighs more in short ones. Each size keeps the largest and the smallest
// tokens per byte seen, which move towards the usual by 1/256 a request, so that one odd prompt
// is forgotten after some hundreds.
//
// Errors. Until kSamplesMin prompts of a size were seen: most = a token for each byte and
// kTemplateTokens a message (a byte-level vocabulary cannot need more; only a longer template
// can), least = 0. After that, most is the largest seen and an eighth: a prompt denser than any
// of the last hundreds of its size is under-estimated, its limits are told when it settles, and
// the bound is raised at once.
class PromptEstimate {
 public:
  static constexpr int64_t kSamplesMin = 32;
  static constexpr int64_t kTemplateTokens = 64;

  TokenRange range(const PromptSize& prompt) const;
  void learn(const PromptSize& prompt, int64_t tokens);

 private:
  static constexpr int kSizes = 28;  // up to 2^27 bytes
  std::array<std::atomic<uint64_t>, kSizes> bounds_ = {};
};

}  // namespace sluice::gateway
