// What a draft layer begins with on a device: arguments, as device_args.h.
#pragma once

#include <cstdint>

namespace sluice::kernels {

// out[r] = bf16 of (RMSNorm(embedded[r]), RMSNorm(RMSNorm(states[state_rows[r]]))), side by side:
// the embedding of a row's next token and the state of the row, which what made it would have
// normalised for the output matrix.
struct DeviceJoinArgs {
  const float* embedded = nullptr;        // (rows, columns)
  const float* embedding_norm = nullptr;  // (columns)
  const float* states = nullptr;          // (any, columns)
  const int32_t* state_rows = nullptr;    // (rows)
  const float* output_norm = nullptr;     // (columns): the inner one
  const float* state_norm = nullptr;      // (columns): the outer one
  float epsilon = 0;
  int64_t rows = 0;
  int64_t columns = 0;
  uint16_t* out = nullptr;  // bf16 (rows, 2 · columns)
};

}  // namespace sluice::kernels
