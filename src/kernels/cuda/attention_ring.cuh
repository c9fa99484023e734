// Keys and values on their way to the warps of attention_decode.cu.
#pragma once

#include "kernels/cuda/attention_columns.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/tensor_copy.cuh"

namespace sluice::kernels::cuda {

// Copies of a warp: keys of its tokens of the first tile, their values, keys of the next, … , each
// a unit, in a ring of its own. One thread starts a unit's copies, by the tensor memory
// accelerator; on cards without one all lanes do, 16 bytes each at a time.
inline constexpr int kRingWarps = 4;  // of a block
inline constexpr int kOwnTokens = kTileTokens / kRingWarps;
static_assert(kPageTokens % kOwnTokens == 0 && kOwnTokens == 16);
template <int kDim>
struct WarpRing {
  static constexpr int kUnitBytes = kOwnTokens * kDim * 2;
  static constexpr int kUnits = kDim == 64 ? 6 : 3;
  static constexpr int kBytes = kUnits * kUnitBytes;  // of a warp

  const CUtensorMap& map;  // boxes (kOwnTokens, 64); of Card::has_tiles
  const KeySource& source;
  uint32_t ring;      // of this warp
  uint32_t barriers;  // kUnits
  int first_token;    // of this warp, in the first tile
  int units;          // of tiles in which it has tokens
  int started = 0;
  int slot = 0;
  uint32_t parity = 0;
  int32_t pages = 0;  // of this lane's tile of the next 32

  __device__ WarpRing(const CUtensorMap& of_map, const KeySource& of, uint32_t shared,
                      uint32_t all_barriers, int first_tile, int end_tile)
      : map(of_map),
        source(of),
        ring(shared + threadIdx.x / 32 * kBytes),
        barriers(all_barriers + threadIdx.x / 32 * kUnits * 8),
        first_token(first_tile * kTileTokens + static_cast<int>(threadIdx.x) / 32 * kOwnTokens) {
    const int end = min(source.tokens, end_tile * kTileTokens);
    units = first_token < end ? 2 * ((end - 1 - first_token) / kTileTokens + 1) : 0;
    read_pages(0);
    if constexpr (kCard.has_tiles) {
      if (threadIdx.x % 32 == 0) {
#pragma unroll
        for (int i = 0; i < kUnits; ++i) begin_barrier(barriers + i * 8, 1);
        publish_barriers();
      }
    }
    __syncwarp();
  }
  __device__ __forceinline__ void begin() {
#pragma unroll 1
    for (int i = 0; i < kUnits; ++i) start(i);
  }
  // All of a warp's tokens lie in one page. Their numbers are fetched 32 at once: a copy that waits
  // for its own is late.
  __device__ __forceinline__ void read_pages(int unit) {
    const int of_lane = first_token + (unit / 2 + static_cast<int>(threadIdx.x) % 32) * kTileTokens;
    pages = of_lane < source.tokens ? source.pages[of_lane / kPageTokens] : 0;
  }
  __device__ __forceinline__ uint32_t at() const {
    return ring + slot * kUnitBytes;
  }

  // The copy of the next unit, if there is one.
  __device__ __forceinline__ void start(int to_slot) {
    const int unit = started++;
    if (unit < units) {
      if (unit % 64 == 0 && unit > 0) read_pages(unit);
      const int32_t page = __shfl_sync(0xffffffffu, pages, unit / 2 % 32);
      const int row = ((page * 2 + unit % 2) * source.kv_heads + source.head) * kPageTokens +
                      first_token % kPageTokens;
      if constexpr (kCard.has_tiles)
        copy_boxes(to_slot, row);
      else
        copy_rows(to_slot, row);
    }
    if constexpr (!kCard.has_tiles) end_copies();  // of nothing too: await() counts them
  }
  __device__ __forceinline__ void copy_boxes(int to_slot, int row) const {
    if (threadIdx.x % 32 != 0) return;
    const uint32_t barrier = barriers + to_slot * 8;
    arrive_and_expect(barrier, kUnitBytes);
#pragma unroll
    for (int part = 0; part < kDim / kTileColumns; ++part)
      copy_tile(ring + to_slot * kUnitBytes + part * (kOwnTokens * kTileRowBytes), map,
                part * kTileColumns, row, barrier, kAsUsual);
  }
  __device__ __forceinline__ void copy_rows(int to_slot, int row) const {
    const auto* from = reinterpret_cast<const __half*>(source.base) + int64_t{row} * source.dim;
    constexpr int kChunks = kDim / 8;
#pragma unroll
    for (int i = static_cast<int>(threadIdx.x) % 32; i < kOwnTokens * kChunks; i += 32) {
      const int token = i / kChunks, chunk = i % kChunks;
      const bool has = chunk * 8 < source.dim;
      copy_16(ring + to_slot * kUnitBytes + unit_offset(token, chunk / 2, chunk % 2),
              from + (has ? token * source.dim + chunk * 8 : 0), has);
    }
  }
  // The next unit is there.
  __device__ __forceinline__ void await() const {
    if constexpr (kCard.has_tiles) {
      wait_barrier(barriers + slot * 8, parity);
    } else {
      wait_copies<kUnits - 1>();
      __syncwarp();
    }
  }
  // It has been used; another is copied to its place.
  __device__ __forceinline__ void release() {
    __syncwarp();
    start(slot);
    if (++slot < kUnits) return;
    slot = 0;
    parity ^= 1;
  }
};

}  // namespace sluice::kernels::cuda
