// How the tokens of a row of latent attention are dealt to blocks, and how the sums of several
// meet.
#pragma once

#include "kernels/cuda/latent.cuh"
#include "kernels/cuda/launch.cuh"

namespace sluice::kernels::cuda {

inline constexpr int kLatentRank = kDeviceLatentRankMax;
inline constexpr int kLatentHeads = 64;   // of a block
inline constexpr int kLatentTokens = 64;  // of a tile
inline constexpr int kLatentSplitsMax = 32;
// Sums (heads, rank), largest (heads), total (heads).
inline constexpr int kLatentPartFloats = kLatentHeads * (kLatentRank + 2);
static_assert(kLatentSplitsMax == 32, "a lane for each part of a row");

// Tiles of a split, so that all of them are dealt in as few blocks as there are.
struct LatentSplit {
  int begin = 0;
  int end = 0;
  int parts = 0;
};
__device__ __forceinline__ LatentSplit split_of(int tokens, int index, const LatentSplits& rule) {
  const int tiles = (tokens + kLatentTokens - 1) / kLatentTokens;
  const int each = max((tiles + rule.splits - 1) / rule.splits, rule.tiles_min);
  return {index * each, min(tiles, (index + 1) * each), (tiles + each - 1) / each};
}

// What the blocks of one row and head have left.
struct LatentParts {
  const float* sums = nullptr;  // (rank) of the first part; the next is kLatentPartFloats behind
  const float* largest = nullptr;
  int parts = 1;
};
__device__ __forceinline__ LatentParts parts_of(const DeviceRows& rows, int64_t row, int head,
                                                int heads, const LatentSplits& rule,
                                                const float* parts) {
  const int64_t blocks_of_row = (heads + kLatentHeads - 1) / kLatentHeads;
  const float* first =
      parts + (row * blocks_of_row + head / kLatentHeads) * rule.places * kLatentPartFloats;
  const int in_block = head % kLatentHeads;
  return {first + in_block * kLatentRank, first + kLatentHeads * kLatentRank + in_block,
          split_of(rows.positions[row] + 1, 0, rule).parts};
}

// By one warp: a lane has a part's weight among all of them.
__device__ __forceinline__ void weigh_parts(const LatentParts& p, float* weights) {
  const int lane = threadIdx.x % 32;
  const float* of_lane = p.largest + int64_t{lane} * kLatentPartFloats;
  const float largest = lane < p.parts ? of_lane[0] : -INFINITY;
  const float total = lane < p.parts ? of_lane[kLatentHeads] : 0;
  float most = largest;
  for (int lanes = 16; lanes > 0; lanes /= 2)
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, lanes));
  const float weight = exp2f(largest - most);
  weights[lane] = weight / warp_sum(weight * total);
}

}  // namespace sluice::kernels::cuda
