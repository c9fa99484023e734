// What one forward pass is given, and what it may be asked for besides logits.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/clock.h"
#include "kernels/device_sample_args.h"
#include "kernels/ops.h"

namespace sluice::model {

// Consecutive tokens of one sequence: rows [first_row, first_row + rows) of the step are its tokens
// from first_position on; the keys and values of earlier ones are in its pages already.
using SequenceSpan = kernels::SequenceSpan;

// Sees the hidden state (rows, hidden) of a step: after the embedding (layer -1), after each layer
// (0 … layers-1) and after the final norm (layer == layers). In the last layer, after its
// attention, only the step's logit_rows go on; what is seen from there on has these rows.
using HiddenObserver = std::function<void(int32_t layer, std::span<const float> hidden)>;

// Sees where a layer's router sent the rows that go on: ids and weights (rows, used).
using RoutingObserver = std::function<void(int32_t layer, std::span<const int32_t> ids,
                                           std::span<const float> weights)>;

// Where the time of one thread in steps went; adds up over steps.
struct StepTimes {
  int64_t linear_ns = 0;
  int64_t attention_ns = 0;
  int64_t rows_ns = 0;     // row-wise ops: norms, RoPE, packing of activations, embedding, …
  int64_t waiting_ns = 0;  // for other threads: barriers, and shares of unequal size
  int64_t device_ns = 0;   // for a device's part of the step
};
// What a recorded step does on a device, in the parts that clocks in its queue tell apart.
enum class QueuePart : uint8_t {
  kAttentionProducts,  // to attention and from it
  kAttention,          // over keys and values; latent: with the matrices of its heads
  kFfn,                // of layers without experts
  kRouter,
  kSharedExperts,
  kExperts,   // routed ones that the device has
  kPulled,    // those it takes over the link for this step
  kHandOver,  // of rows to the host
  kAnswer,    // waiting for the host's experts, and adding them
  kSums,      // over the cards, waiting for the slowest
  kOutput,
  kSampling,
};
inline constexpr int kQueueParts = 12;

struct StepProfile {
  const core::Clock& clock;
  std::vector<StepTimes> threads;  // as many as the pool has
  std::array<int64_t, kQueueParts> queue_ns{};
};

// Whether a draft may follow: all rows go on to the end of a step, which keeps their hidden states.
enum class KeepHidden : uint8_t { kNo, kYes };

// Where a token lies that a pass of the draft layer has guessed.
struct DraftedToken {
  int32_t pass = -1;     // since the last step; −1: the token is known
  int32_t sequence = 0;  // of the pass
};
inline constexpr int32_t kDraftPassesMax = 4;  // between two steps

struct StepBatch {
  std::span<const int32_t> token_ids;       // all rows of the step, 1 … step_tokens_max
  std::span<const SequenceSpan> sequences;  // cover the rows in order, each sequence once
  std::span<const int32_t> logit_rows;      // ascending rows whose logits are wanted; may be empty
  const HiddenObserver* observer = nullptr;
  const RoutingObserver* routing_observer = nullptr;
  StepProfile* profile = nullptr;
  KeepHidden hidden = KeepHidden::kNo;
  // By row: ≥ 0: instead of its token id, what the step submitted before sampled at that one of its
  // logit_rows. Empty: all token ids are known.
  std::span<const int32_t> sampled_rows{};
  // By row: instead of its token id, what a pass of the draft layer submitted before guessed.
  // Empty: the same.
  std::span<const DraftedToken> drafted{};
};

// How a device chooses the tokens behind a step's logit_rows.
struct SampleBatch {
  std::span<const kernels::SampleRow> rows;  // by logit row; empty: the best of each
  int32_t vocab = 0;                         // ids that may be chosen
};
inline constexpr int kStepsAhead = 2;  // submitted and not collected

// A pass of the draft layer: each row is a token at a position that the last step or pass has
// computed, and predicts the token after the next. The layer has keys and values of its own in the
// same pages.
struct DraftBatch {
  // By row: the token behind the row's. Of kOfDraft submitted, whatever: each row goes on with what
  // the pass before has guessed.
  std::span<const int32_t> next_ids;
  std::span<const SequenceSpan> sequences;  // cover the rows in order
  enum class Hidden : uint8_t {
    kOfStep,  // hidden_rows are rows of the last step, which had KeepHidden::kYes
    kOfDraft  // they are sequences of the last pass: its last row of each
  } hidden = Hidden::kOfStep;
  std::span<const int32_t> hidden_rows;      // by row
  const HiddenObserver* observer = nullptr;  // sees what kOfDraft would continue
  enum class Purpose : uint8_t {
    kGuess,  // the token behind each sequence's last row
    kKeys    // the rows' keys and values alone, for later passes: no logits, nothing to go on from
  } purpose = Purpose::kGuess;
};

// A batch that breaks the rules above is a bug: ends the process.
struct BatchLimits {
  int64_t rows_max = 0;
  int32_t vocab = 0;
};
void check_batch(const StepBatch& batch, const BatchLimits& limits);

}  // namespace sluice::model
