// What the kernels of rows_by_tiles.cu and rows_by_parts.cu share: a block's tiles of outputs, the
// ring that one thread copies them into, and the two groups of four warps that multiply.
//
// A tile is two halves of kHalf outputs by all rows, padded to 64: of kSiluMul one half of each
// matrix, otherwise two that follow each other in the row of all products' halves.
#pragma once

#include "kernels/cuda/card.h"
#include "kernels/cuda/tensor_copy.cuh"
#include "kernels/cuda/tensor_map.cuh"
#include "kernels/cuda/tile_halves.cuh"
#include "kernels/device_args.h"

namespace sluice::kernels::cuda::tiles {

inline constexpr int kRows = kRowsByTilesMax;
inline constexpr int kGroups = 2;  // of wgmma
inline constexpr int kGroupThreads = 128;
inline constexpr int kConsumers = kGroups * kGroupThreads;  // threads that multiply
inline constexpr int kThreads = kConsumers + 32;
inline constexpr int kInputBytes = kRows * kTileRowBytes;

struct TileProduct {
  float* y = nullptr;
  int32_t outputs = 0;
  int32_t first_half = 0;  // of all products' halves
};
struct TileArgs {
  CUtensorMap weights[kDeviceProductsMax];  // boxes (kHalf, 64)
  CUtensorMap x;                            // boxes (64, 64)
  TileProduct products[kDeviceProductsMax];
  int32_t product_count = 0;
  int32_t rows = 0;
  int32_t steps = 0;  // of 64 inputs
  int32_t tiles = 0;
  DeviceResult result = DeviceResult::kStore;
  uint16_t* activated = nullptr;
};

// Of tiles of two halves of `half` outputs each. `x`: bf16 (rows, inputs), instead of the args'
// input.
inline TileArgs tile_args(const DeviceLinearArgs& args, const uint16_t* x, int half) {
  const int64_t inputs = args.products[0].weights.inputs;
  TileArgs tiles{.product_count = args.product_count,
                 .rows = static_cast<int32_t>(args.rows),
                 .steps = static_cast<int32_t>(div_ceil(inputs, kTileColumns)),
                 .result = args.result,
                 .activated = args.activated};
  tiles.x = tile_map(kBf16, x, args.rows, inputs, kRows);
  int32_t halves = 0;
  for (int p = 0; p < args.product_count; ++p) {
    const DeviceProduct& product = args.products[static_cast<size_t>(p)];
    const int64_t outputs = product.weights.outputs;
    tiles.weights[p] = tile_map(kBf16, product.weights.data, outputs, inputs, half);
    tiles.products[p] = {product.y, static_cast<int32_t>(outputs), halves};
    halves += static_cast<int32_t>(div_ceil(outputs, half));
  }
  tiles.tiles = static_cast<int32_t>(args.result == DeviceResult::kSiluMul
                                         ? div_ceil(tiles.products[0].outputs, half)
                                         : div_ceil(halves, 2));
  return tiles;
}

// `kOtherBytes` of shared memory are left behind the ring.
template <int kHalfOf, int kOtherBytes>
struct TileShape {
  static constexpr int kHalf = kHalfOf;
  static constexpr int kColumns = kHalf / kGroups;  // of a group, in each half
  static constexpr int kHalfBytes = kHalf * kTileRowBytes;
  static constexpr int kStageBytes = 2 * kHalfBytes + kInputBytes;
  static constexpr int kStages = static_cast<int>(
      (card_of(90).shared_bytes_max - 2 * kTileAlignment - kOtherBytes) / kStageBytes);
  static constexpr int kRingBytes = kStages * kStageBytes;
  static constexpr size_t kSharedBytes = kRingBytes + kOtherBytes + kTileAlignment;
  static_assert(kColumns % 8 == 0 && kHalfBytes % kTileAlignment == 0);
};

// What a block does: every `tile_step`th tile, of each the inputs of `steps`.
struct BlockPart {
  int first_tile = 0;
  int tile_step = 0;
  int first_step = 0;
  int steps = 0;
};
// Where `parts` blocks share a tile and this one is the `rank`th of them.
__device__ __forceinline__ BlockPart block_part(const TileArgs& args, int parts, int rank) {
  const int first = args.steps * rank / parts;
  return {static_cast<int>(blockIdx.x) / parts, static_cast<int>(gridDim.x) / parts, first,
          args.steps * (rank + 1) / parts - first};
}

template <typename S>
struct TileWork {
  using Sums = float[2][S::kColumns / 2];  // of each half

  const TileArgs& args;
  const BlockPart part;
  uint32_t ring;   // kStages × { half, half, inputs }
  uint32_t full;   // kStages barriers
  uint32_t empty;  // the same

  // `ring` is aligned.
  __device__ TileWork(const TileArgs& of, const BlockPart& part_of, uint32_t shared,
                      uint64_t (&barriers)[2 * S::kStages])
      : args(of),
        part(part_of),
        ring(shared),
        full(shared_address(barriers)),
        empty(full + 8 * S::kStages) {}

  // By one thread, before all of the block meet.
  __device__ void begin() const {
    for (int stage = 0; stage < S::kStages; ++stage) {
      begin_barrier(full + stage * 8, 1);
      begin_barrier(empty + stage * 8, kConsumers / 32);
    }
    publish_barriers();
  }

  __device__ uint32_t stage_at(int stage) const { return ring + stage * S::kStageBytes; }

  // Where a thread is in the ring and in its tiles. It goes on by additions alone: each turn waits
  // for the one thread that copies.
  struct Cursor {
    int tile = 0;
    int step = 0;
    int stage = 0;
    uint32_t parity = 0;
    const CUtensorMap* weights[2] = {};
    int first[2] = {};  // outputs
  };
  __device__ __forceinline__ void enter(Cursor& at, int tile) const {
    at.tile = tile;
    at.step = 0;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const HalfPlace place = half_place<S::kHalf>(args, tile, half);
      at.weights[half] = &args.weights[place.product];
      at.first[half] = place.first;
    }
  }
  __device__ __forceinline__ static void next_stage(Cursor& at) {
    if (++at.stage < S::kStages) return;
    at.stage = 0;
    at.parity ^= 1;
  }
  __device__ __forceinline__ void advance(Cursor& at) const {
    next_stage(at);
    if (++at.step == part.steps) enter(at, at.tile + part.tile_step);
  }

  __device__ __forceinline__ void copy_weights(const Cursor& at) const {
    const int column = (part.first_step + at.step) * kTileColumns;
    const uint32_t barrier = full + at.stage * 8;
    arrive_and_expect(barrier, S::kStageBytes);
#pragma unroll
    for (int half = 0; half < 2; ++half)
      copy_tile(stage_at(at.stage) + half * S::kHalfBytes, *at.weights[half], column,
                at.first[half], barrier, kLeavesFirst);
  }
  __device__ __forceinline__ void copy_inputs(const Cursor& at) const {
    copy_tile(stage_at(at.stage) + 2 * S::kHalfBytes, args.x,
              (part.first_step + at.step) * kTileColumns, 0, full + at.stage * 8, kStays);
  }
  // By one thread: weights before the op before has ended.
  __device__ void produce() const {
    Cursor at, inputs;
    enter(at, part.first_tile);
    enter(inputs, part.first_tile);
    const int tiles = (args.tiles - part.first_tile + part.tile_step - 1) / part.tile_step;
    const int turns = tiles * part.steps, ahead = min(turns, S::kStages);
    for (int turn = 0; turn < ahead; ++turn, advance(at)) copy_weights(at);
    wait_for_previous();
    for (int turn = 0; turn < ahead; ++turn, advance(inputs)) copy_inputs(inputs);
    for (int turn = ahead; turn < turns; ++turn, advance(at)) {
      wait_barrier(empty + at.stage * 8, at.parity ^ 1);
      copy_weights(at);
      copy_inputs(at);
    }
  }

  // The place in a half of the first output of a thread's group.
  __device__ static int first_column() {
    return threadIdx.x / kGroupThreads * S::kColumns;
  }
  // The first row of a thread's warp.
  __device__ static int first_row() {
    return threadIdx.x % kGroupThreads / 32 * 16;
  }
  // The two sums `i` of each half: their row, and the first one's place in the half.
  static constexpr int kPairs = S::kColumns / 4;
  __device__ __forceinline__ static int row_of(int i) {
    return first_row() + threadIdx.x % 32 / 4 + i % 2 * 8;
  }
  __device__ __forceinline__ static int column_of(int i) {
    return first_column() + i / 2 * 8 + threadIdx.x % 4 * 2;
  }

  // By the threads that multiply. `end(tile, sums)`: of the block's inputs.
  template <typename End>
  __device__ __forceinline__ void consume(const End& end) const {
    const int weights_at = first_column() * kTileRowBytes;
    Sums d;
    const bool is_first_lane = threadIdx.x % 32 == 0;
    Cursor at;
    uint32_t used = 0;  // the barrier of the stage before
    wait_for_previous();
    for (int tile = part.first_tile; tile < args.tiles; tile += part.tile_step) {
      for (int step = 0; step < part.steps; ++step) {
        wait_barrier(full + at.stage * 8, at.parity);
        const uint32_t stage = stage_at(at.stage);
        const uint64_t weights = tile_descriptor(stage + weights_at);
        const uint64_t more_weights = tile_descriptor(stage + S::kHalfBytes + weights_at);
        const uint64_t inputs = tile_descriptor(stage + 2 * S::kHalfBytes);
        begin_products();
#pragma unroll
        for (int column = 0; column < kTileColumns; column += 16) {
          const bool adds = step > 0 || column > 0;
          multiply_tile<S::kColumns>(d[0], at_column(inputs, column), at_column(weights, column),
                                     adds);
          multiply_tile<S::kColumns>(d[1], at_column(inputs, column),
                                     at_column(more_weights, column), adds);
        }
        end_products();
        wait_products<1>();
        if (step > 0 && is_first_lane) arrive(used);
        used = empty + at.stage * 8;
        next_stage(at);
      }
      wait_products<0>();
      if (is_first_lane) arrive(used);
      end(tile, d);
    }
  }
};

}  // namespace sluice::kernels::cuda::tiles
