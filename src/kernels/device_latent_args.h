// Latent attention on a device: arguments, as device_args.h.
#pragma once

#include <cstdint>

#include "kernels/device_args.h"
#include "kernels/device_expert_args.h"

namespace sluice::kernels {

inline constexpr int32_t kDeviceLatentRankMax = 512;
inline constexpr int32_t kDeviceLatentTurnedMax = 64;

// Multi-head latent attention, absorbed (LatentAttentionArgs of attention_args.h), of all rows:
//   latents = RMSNorm(kv_low[…, 0 … rank)), turned keys = rotated kv_low[…, rank …): to the pages
//   query of a head = (k_b · q[…, 0 … nope), rotated q[…, nope …))
//   out = v_b · softmax(scale · query · row of the cache) · latents
// Rows of the cache and queries are f16; inputs of k_b, v_b and the result are bf16.
struct DeviceLatentArgs {
  DeviceRows rows;
  KvLayer kv;  // kF16 with a latent_rank; head_dim = rank + rope.dims
  int32_t heads = 0;
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
