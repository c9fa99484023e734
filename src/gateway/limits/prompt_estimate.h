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

// One per model; all threads share it. A prompt's extent is its bytes and kTemplateTokens for each
// message; prompts are told apart by extent (powers of two), since what a template adds weighs more
// in short ones. Each size keeps the largest and the smallest tokens per extent that were seen;
// both move towards every other prompt's by 1/256 of the difference, so that one odd prompt is
// forgotten after some hundreds.
//
// Errors. Until kSamplesMin prompts of a size were seen: most is the extent (a byte-level
// vocabulary needs no more than a token for a byte; only a longer template can), least is 0. After
// that most is the largest seen and an eighth, least the smallest less an eighth. A prompt denser
// than those is under-estimated by what it is denser: its limits are told when it settles, as debt,
// and the bound rises at once.
class PromptEstimate {
 public:
  static constexpr int64_t kSamplesMin = 32;
  static constexpr int64_t kTemplateTokens = 64;

  TokenRange range(const PromptSize& prompt) const;
  // What a prompt can have at all, whatever was seen: its extent.
  static int64_t most_possible(const PromptSize& prompt);
  void learn(const PromptSize& prompt, int64_t tokens);

 private:
  static constexpr int kSizes = 32;
  std::array<std::atomic<uint64_t>, kSizes> bounds_ = {};  // see Bounds in the .cpp
};

}  // namespace sluice::gateway
