// Latent attention on a device: arguments, as device_args.h.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/device_args.h"
#include "kernels/device_expert_args.h"

namespace sluice::kernels {

inline constexpr int32_t kDeviceLatentRankMax = 512;
inline constexpr int32_t kDeviceLatentTurnedMax = 64;

// Consecutive rows of one sequence, more than one; `tokens` with those before them.
struct LatentPrompt {
  int32_t first_row = 0;
  int32_t rows = 0;
  int32_t tokens = 0;
};

// Multi-head latent attention, absorbed (LatentAttentionArgs of attention_args.h), of all rows:
//   latents = RMSNorm(kv_low[…, 0 … rank)), turned keys = rotated kv_low[…, rank …): to the pages
//   query of a head = (k_b · q[…, 0 … nope), rotated q[…, nope …))
//   out = v_b · softmax(scale · query · row of the cache) · latents
// Rows of the cache and queries are f16; inputs of k_b, v_b and the result are bf16. Where a prompt
// has many rows, keys and values of all heads may be made of the cache instead, in f16:
//   key = (k_b^T · latents, turned key), query = (q, rotated q), value = v_b · latents
struct DeviceLatentArgs {
  DeviceRows rows;
  std::span<const LatentPrompt> prompts;  // the host's; in the order of rows, or none
  KvLayer kv;                             // kF16 with a latent_rank; head_dim = rank + rope.dims
  int32_t heads = 0;                      // none: keys are stored, and nobody attends
  float scale = 0;
  const float* q = nullptr;       // (rows, heads, nope + rope.dims)
  const float* kv_low = nullptr;  // (rows, latent_rank + rope.dims)
  const float* norm = nullptr;    // (latent_rank)
  float epsilon = 0;
  DeviceRope rope;
  DeviceStack k_b;          // by head: (latent_rank, nope)
  DeviceStack v_b;          // by head: (value dims, latent_rank)
  uint16_t* out = nullptr;  // bf16 (rows, heads, value dims)
};

}  // namespace sluice::kernels
