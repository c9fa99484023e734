// What the launches of latent attention need beside their arguments.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/device_latent_args.h"

namespace sluice::kernels::cuda {

// What latent_prompt.cu has of a sequence's first tokens and a layer's matrices, all f16. There are
// latent_padded() tokens; those behind the last are zero.
inline constexpr int kLatentTurned = kDeviceLatentTurnedMax;
inline constexpr int kLatentPromptDims =
    128;  // of queries that do not turn, and of values, at most
inline constexpr int64_t kLatentRoomBytes = int64_t{256} << 20;
struct LatentRoom {
  uint16_t* k_b = nullptr;      // (heads, nope, rank)
  uint16_t* v_b = nullptr;      // (heads, value dims, rank)
  uint16_t* latents = nullptr;  // (tokens, rank)
  uint16_t* turned = nullptr;   // (tokens, kLatentTurned): keys
  uint16_t* keys = nullptr;     // (tokens, heads of a group, nope)
  uint16_t* values = nullptr;   // (tokens, heads of a group, value dims)
};
inline int64_t latent_padded(int64_t tokens) {
  return (tokens + 63) / 64 * 64;
}

struct LatentScratch {
  uint16_t* q_nope = nullptr;    // bf16 (rows, heads, nope dims)
  uint16_t* queries = nullptr;   // f16 (rows, heads, cache row)
  uint16_t* attended = nullptr;  // bf16 (rows, heads, latent rank)
  float* parts = nullptr;        // latent_part_floats(); or kLatentRoomBytes, of deterministic rows
  std::byte* room_bytes = nullptr;  // kLatentRoomBytes, which `room` points into
  LatentRoom room;
};
int64_t latent_part_floats();

// How the tokens of a step's rows are dealt (latent_parts.cuh).
struct LatentSplits {
  int splits = 1;     // of a row at most
  int tiles_min = 1;  // of a split but the last
  int places = 1;     // that a row has for parts
};

// latent_rows.cu: rotation and the store of the cache's rows
void turn_latent(const DeviceLatentArgs& args, const LatentScratch& scratch, cudaStream_t stream);

// latent_heads.cu: y[r, h] = matrix h · x[r, h] into queries, and out of the latent space
void multiply_k_b(const DeviceLatentArgs& args, const LatentScratch& scratch, cudaStream_t stream);
void multiply_v_b(const DeviceLatentArgs& args, const LatentScratch& scratch, cudaStream_t stream);

// latent_few.cu: of few rows and Q8_0, turn_latent() and multiply_k_b() as one, and the join of a
// row's parts with multiply_v_b()
bool latent_rows_are_few(const DeviceLatentArgs& args);
void make_queries(const DeviceLatentArgs& args, const LatentScratch& scratch, cudaStream_t stream);
void make_values(const DeviceLatentArgs& args, const LatentScratch& scratch,
                 const LatentSplits& splits, cudaStream_t stream);

// latent_prompt.cu: the parts of attention that is not absorbed
enum class HeadMatrices : uint8_t { kAsTheyAre, kTurned };  // (inputs, outputs) of each
void decode_heads(const DeviceStack& matrices, HeadMatrices as, uint16_t* out, cudaStream_t stream);
void gather_latents(const DeviceLatentArgs& args, const LatentPrompt& prompt,
                    const LatentRoom& room, cudaStream_t stream);
struct LatentPromptHeads {
  int32_t first_head = 0;
  int32_t heads = 0;
};
void attend_latent_prompt(const DeviceLatentArgs& args, const LatentPrompt& prompt,
                          const LatentPromptHeads& of, const LatentScratch& scratch,
                          cudaStream_t stream);

// latent_attention.cu. The first leaves rows of several parts to make_values().
LatentSplits attend_latent_parts(const DeviceLatentArgs& args, const LatentScratch& scratch,
                                 cudaStream_t stream);
void attend_latent(const DeviceLatentArgs& args, const LatentScratch& scratch, cudaStream_t stream);
// A row's parts follow from its own tokens alone, of which no row has more than `tokens_max`.
void attend_latent_alike(const DeviceLatentArgs& args, int64_t tokens_max,
                         const LatentScratch& scratch, cudaStream_t stream);
// The rows from `begin` to `end`, and what of the scratch is theirs.
struct LatentRows {
  DeviceLatentArgs args;
  LatentScratch scratch;
};
LatentRows latent_rows(const DeviceLatentArgs& args, const LatentScratch& scratch, int64_t begin,
                       int64_t end);

}  // namespace sluice::kernels::cuda
