// How a device takes tokens from rows of logits. Pointers are the device's own.
#pragma once

#include <cstdint>

namespace sluice::kernels {

// What engine/sampling.h means by these, without bias, penalties and log probabilities.
struct SampleRow {
  static constexpr int kMaskedMax = 8;
  double unit = 0;        // [0, 1): the row's random number
  float temperature = 0;  // below kGreedyTemperature: the best token
  float top_p = 1;
  float min_p = 0;
  int32_t top_k = 0;  // 0: all
  int32_t masked_count = 0;
  int32_t masked_ids[kMaskedMax] = {};  // that cannot be chosen
};
// Below this temperature the best token is taken.
inline constexpr float kGreedyTemperature = 1e-5f;

// Instead of a token id.
inline constexpr int32_t kRowNotFinite = -1;  // not all logits are finite numbers
inline constexpr int32_t kRowAllMasked = -2;  // no id may be chosen

struct DeviceSampleArgs {
  float* logits = nullptr;  // (rows, stride); those that cannot be chosen are lost
  int64_t rows = 0;
  int64_t stride = 0;
  int64_t columns = 0;             // ids that may be chosen, ≤ stride
  const SampleRow* how = nullptr;  // (rows); null: the best of each row, the smallest of equals
  int32_t* ids = nullptr;          // (rows)
};

// A masked logit: a NaN that no arithmetic makes.
inline constexpr uint32_t kMaskedLogitBits = 0xffd5a5a5u;

}  // namespace sluice::kernels
