// Routed experts of steps that a device runs, on the processor: what is handed over.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "kernels/device.h"
#include "model/expert_cache.h"
#include "model/expert_plan.h"
#include "model/step.h"
#include "model/weights.h"

namespace sluice::model {

// out[r] = Σ_i weights[r, i] · the result of expert ids[r, i] for x[r], in float.
struct RoutedRows {
  int64_t rows = 0;                // 1 … step_tokens_max
  const uint16_t* x = nullptr;     // bf16 (rows, hidden): after the norm
  const int32_t* ids = nullptr;    // (rows, used)
  const float* weights = nullptr;  // (rows, used)
  float* out = nullptr;            // (rows, hidden)
};

// Rows of one layer after the other, as a device's queue posts them.
struct RoutedTurns {
  std::span<const LayerWeights* const> layers;  // turn by turn
  RoutedRows rows;                              // the same places every turn
  kernels::Mailbox& mailbox;
  uint32_t first_turn = 0;  // the first layer's
  // (rows, used): of the rows' ids those that the host computes, or -1.
  const int32_t* own = nullptr;
  // (2, guessed_max): what turns may choose, as Device::post_guess() leaves it.
  const int32_t* guessed = nullptr;
  int64_t guessed_max = 0;
  // The layer's cache sees what was chosen; or empty.
  std::span<ExpertCache> caches;  // turn by turn
  uint32_t pull_share = 0;        // as in kernels::DevicePickArgs
  ResidentCounts& counts;         // of what is not resident
  int32_t deferred = 0;     // of a row's choices, those of the least weight: in the next answer
  kernels::Device& device;  // asked now and then whether it is alive
  StepProfile* profile = nullptr;

  uint32_t number(size_t turn) const { return first_turn + static_cast<uint32_t>(turn); }
  bool is_posted(size_t turn) const {
    const uint32_t posted = mailbox.posted.load(std::memory_order_acquire);
    return static_cast<int32_t>(posted - number(turn)) >= 0;
  }
  bool has_guess(size_t turn) const {
    return mailbox.guessed[number(turn) % 2].load(std::memory_order_acquire) == number(turn);
  }
  // A turn's guess, if it is there, of rows that chose `used` each.
  ExpertGuess guess(size_t turn, int32_t used) const {
    if (!has_guess(turn)) return {};
    return {
        .ids = {guessed + number(turn) % 2 * guessed_max, static_cast<size_t>(rows.rows * used)},
        .used = used,
        .slots = caches.empty() ? std::span<const int32_t>() : caches[turn].slots_of(),
        .pull_share = pull_share};
  }
};

}  // namespace sluice::model
