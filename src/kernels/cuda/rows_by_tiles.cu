// More rows than narrow.cuh takes, and at most 64, by bf16 matrices whose products are stored or go
// through silu: bound by reading the weights once. All rows are one operand of wgmma, padded to 64,
// so a tile of outputs may be as wide as it takes to give every multiprocessor one; the inputs of
// few outputs are split over a cluster, whose blocks send each other the sums of the rows that are
// the other's, which it adds in order: the same bits every time.
//
// One warp copies tiles into a ring as long as there is room, weights before the op before has
// ended; two groups of four multiply, each by its part of both halves. A block's tile is two halves
// of kHalf outputs: of kSiluMul one of each matrix, otherwise two that follow each other in the row
// of all products' halves.
// Reference: kernels/ref/ref_device.cpp.
#include <algorithm>

#include "kernels/cuda/rows_by_tiles.cuh"
#include "kernels/cuda/tensor_copy.cuh"
#include "kernels/cuda/tensor_map.cuh"

namespace sluice::kernels::cuda {
namespace {

constexpr int kRows = kRowsByTilesMax;
constexpr int kGroups = 2;  // of wgmma
constexpr int kGroupThreads = 128;
constexpr int kConsumers = kGroups * kGroupThreads;  // threads that multiply
constexpr int kThreads = kConsumers + 32;
constexpr int kInputBytes = kRows * kTileRowBytes;

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

// Where a half of a tile is.
struct HalfPlace {
  int product = 0;
  int first = 0;  // output; may be behind the last
};
template <int kHalf>
__device__ __forceinline__ HalfPlace half_place(const TileArgs& args, int tile, int half) {
  if (args.result == DeviceResult::kSiluMul) return {half, tile * kHalf};
  const int at = 2 * tile + half;
  int product = 0;
  while (product + 1 < args.product_count && at >= args.products[product + 1].first_half) ++product;
  return {product, (at - args.products[product].first_half) * kHalf};
}

template <int kHalf, int kSplit>
struct Shape {
  static constexpr int kColumns = kHalf / kGroups;  // of a group, in each half
  static constexpr int kHalfBytes = kHalf * kTileRowBytes;
  static constexpr int kStageBytes = 2 * kHalfBytes + kInputBytes;
  // What the other blocks of a cluster send, (kSplit - 1, kOwnRows, kPitch) floats behind the ring;
  // rows of pairs in different banks.
  static constexpr int kOwnRows = kRows / kSplit;
  static constexpr int kPitch = 2 * kHalf + 8;
  static constexpr int kSentBytes = (kSplit - 1) * kOwnRows * kPitch * int{sizeof(float)};
  static constexpr int kStages = static_cast<int>(
      (card_of(90).shared_bytes_max - 2 * kTileAlignment - kSentBytes) / kStageBytes);
  static constexpr int kRingBytes = kStages * kStageBytes;
  static constexpr size_t kSharedBytes = kRingBytes + kSentBytes + kTileAlignment;
  static_assert(kColumns % 8 == 0 && kHalfBytes % kTileAlignment == 0 && kOwnRows % 16 == 0);
};

// Two outputs of a row, both of one half; `up`: of kSiluMul, those of the other half.
[[maybe_unused]] __device__ __forceinline__ void put(const TileArgs& args, HalfPlace place, int row,
                                                     int column, float2 value, float2 up) {
  const TileProduct& product = args.products[place.product];
  const int output = place.first + column;
  if (row >= args.rows || output >= product.outputs) return;
  const int64_t at = int64_t{row} * product.outputs + output;
  if (args.result == DeviceResult::kSiluMul) {
    *reinterpret_cast<uint32_t*>(args.activated + at) =
        bf16_pair(silu_of(value.x) * up.x, silu_of(value.y) * up.y);
    return;
  }
  *reinterpret_cast<float2*>(product.y + at) = value;
}

template <int kHalf, int kSplit>
struct TileWork {
  using S = Shape<kHalf, kSplit>;
  using Sums = float[2][S::kColumns / 2];  // of each half

  const TileArgs& args;
  uint32_t ring;   // kStages × { half, half, inputs }
  uint32_t full;   // kStages barriers
  uint32_t empty;  // the same
  int first_tile;
  int tile_step;
  int first_step;
  int steps;  // of each tile
  int turns;  // of all tiles

  __device__ TileWork(const TileArgs& of, uint32_t shared, uint32_t barriers)
      : args(of),
        ring(shared),
        full(barriers),
        empty(barriers + 8 * S::kStages),
        first_tile(blockIdx.x / kSplit),
        tile_step(gridDim.x / kSplit) {
    const int rank = kSplit > 1 ? cluster_rank() : 0;
    first_step = args.steps * rank / kSplit;
    steps = args.steps * (rank + 1) / kSplit - first_step;
    const int tiles = (args.tiles - first_tile + tile_step - 1) / tile_step;
    turns = tiles * steps;
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
      const HalfPlace place = half_place<kHalf>(args, tile, half);
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
    if (++at.step == steps) enter(at, at.tile + tile_step);
  }

  __device__ __forceinline__ void copy_weights(const Cursor& at) const {
    const int column = (first_step + at.step) * kTileColumns;
    const uint32_t barrier = full + at.stage * 8;
    arrive_and_expect(barrier, S::kStageBytes);
#pragma unroll
    for (int half = 0; half < 2; ++half)
      copy_tile(stage_at(at.stage) + half * S::kHalfBytes, *at.weights[half], column,
                at.first[half], barrier, kLeavesFirst);
  }
  __device__ __forceinline__ void copy_inputs(const Cursor& at) const {
    copy_tile(stage_at(at.stage) + 2 * S::kHalfBytes, args.x, (first_step + at.step) * kTileColumns,
              0, full + at.stage * 8, kStays);
  }
  // By one thread.
  __device__ void produce() const {
    Cursor at, inputs;
    enter(at, first_tile);
    enter(inputs, first_tile);
    const int ahead = min(turns, S::kStages);
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

  // By the threads that multiply. `sent`: of this block, in shared memory.
  __device__ void consume(float* sent) const {
    const int weights_at = first_column() * kTileRowBytes;
    Sums d;
    const bool is_first_lane = threadIdx.x % 32 == 0;
    Cursor at;
    uint32_t used = 0;  // the barrier of the stage before
    wait_for_previous();
    for (int tile = first_tile; tile < args.tiles; tile += tile_step) {
      for (int step = 0; step < steps; ++step) {
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
      if constexpr (kSplit == 1)
        put_all(tile, d);
      else
        join(d, sent);
    }
  }

  __device__ void put_all(int tile, const Sums& d) const {
    const int lane = threadIdx.x % 32, row = first_row() + lane / 4;
    const HalfPlace places[2] = {half_place<kHalf>(args, tile, 0),
                                 half_place<kHalf>(args, tile, 1)};
    const bool activates = args.result == DeviceResult::kSiluMul;
#pragma unroll
    for (int j = 0; j < S::kColumns / 8; ++j)
#pragma unroll
      for (int more = 0; more < 2; ++more) {
        const int column = first_column() + j * 8 + lane % 4 * 2, i = j * 4 + more * 2;
        const float2 first{d[0][i], d[0][i + 1]}, second{d[1][i], d[1][i + 1]};
        put(args, places[0], row + more * 8, column, first, second);
        if (!activates) put(args, places[1], row + more * 8, column, second, second);
      }
  }

  // Each warp's rows are those of one block of the cluster; the other blocks send it theirs.
  __device__ void join(Sums& d, float* sent) const {
    const int lane = threadIdx.x % 32, rank = cluster_rank();
    const int owner = first_row() / S::kOwnRows, row = first_row() % S::kOwnRows + lane / 4;
    const int column = first_column() + lane % 4 * 2;
    const auto place_of = [&](float* base, int from, int to, int half, int j, int more) {
      const int slot = from < to ? from : from - 1;
      return reinterpret_cast<float2*>(base + (slot * S::kOwnRows + row + more * 8) * S::kPitch +
                                       half * kHalf + j * 8 + column);
    };
    const auto for_all = [&](const auto& act) {
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int j = 0; j < S::kColumns / 8; ++j)
#pragma unroll
          for (int more = 0; more < 2; ++more)
            act(half, j, more, d[half][j * 4 + more * 2], d[half][j * 4 + more * 2 + 1]);
    };
    __syncwarp();
    await_cluster();  // all blocks have begun
    if (owner != rank) {
      float* there = of_block(sent, owner);
      for_all([&](int half, int j, int more, float& a, float& b) {
        *place_of(there, rank, owner, half, j, more) = {a, b};
      });
    }
    meet_cluster();
    if (owner != rank) return;
    for_all([&](int half, int j, int more, float& a, float& b) {
      float2 all{0, 0};
#pragma unroll
      for (int from = 0; from < kSplit; ++from) {
        const float2 part =
            from == rank ? float2{a, b} : *place_of(sent, from, rank, half, j, more);
        all = {all.x + part.x, all.y + part.y};
      }
      a = all.x;
      b = all.y;
    });
    put_all(first_tile, d);
  }
};

template <int kHalf, int kSplit>
__device__ __forceinline__ void run_tiles(const TileArgs& args) {
  using S = Shape<kHalf, kSplit>;
  extern __shared__ std::byte shared[];
  __shared__ uint64_t barriers[2 * S::kStages];
  let_next_start();
  const uint32_t begin = shared_address(shared);
  const uint32_t skipped = (kTileAlignment - begin % kTileAlignment) % kTileAlignment;
  const TileWork<kHalf, kSplit> work(args, begin + skipped, shared_address(barriers));
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < S::kStages; ++stage) {
      begin_barrier(work.full + stage * 8, 1);
      begin_barrier(work.empty + stage * 8, kConsumers / 32);
    }
    publish_barriers();
  }
  __syncthreads();
  if constexpr (kSplit > 1) arrive_at_cluster();
  if (threadIdx.x < kConsumers)
    return work.consume(reinterpret_cast<float*>(shared + skipped + S::kRingBytes));
  if (threadIdx.x == kConsumers) work.produce();
  if constexpr (kSplit > 1) {
    __syncwarp();
    await_cluster();
    meet_cluster();
  }
}

template <int kHalf, int kSplit>
__global__ void __launch_bounds__(kThreads, 1) tiles_kernel(const __grid_constant__ TileArgs args) {
  if constexpr (kCard.has_tiles)
    run_tiles<kHalf, kSplit>(args);
  else
    __trap();  // rows_fit_tiles() says no
}

// ---- Which tiles --------------------------------------------------------------------------------

struct TileChoice {
  int half = 0;
  int split = 0;
  void (*kernel)(TileArgs) = nullptr;
  size_t shared_bytes = 0;
};
template <int kHalf, int kSplit>
constexpr TileChoice kChoice = {kHalf, kSplit, tiles_kernel<kHalf, kSplit>,
                                Shape<kHalf, kSplit>::kSharedBytes};
const TileChoice kChoices[] = {kChoice<64, 1>,  kChoice<96, 1>,  kChoice<112, 1>,
                               kChoice<128, 1>, kChoice<48, 2>,  kChoice<64, 2>,
                               kChoice<96, 2>,  kChoice<112, 2>, kChoice<128, 2>};

int halves_of(const DeviceLinearArgs& args, int half) {
  int halves = 0;
  for (int32_t p = 0; p < args.product_count; ++p)
    halves +=
        static_cast<int>(div_ceil(args.products[static_cast<size_t>(p)].weights.outputs, half));
  return halves;
}
int tiles_of(const DeviceLinearArgs& args, int half) {
  return static_cast<int>(div_ceil(halves_of(args, half), 2));
}

// Bytes that the busiest multiprocessor reads, and what a split costs besides.
int64_t cost_of(const DeviceLinearArgs& args, const TileChoice& choice, int processors) {
  constexpr int64_t kJoinBytes = 48 * 1024;
  const int64_t steps = div_ceil(args.products[0].weights.inputs, kTileColumns);
  if (steps < choice.split) return INT64_MAX;
  const int64_t waves = div_ceil(tiles_of(args, choice.half), processors / choice.split);
  const int64_t stage = (2 * choice.half + kRows / 2) * kTileRowBytes;
  return waves * (div_ceil(steps, choice.split) * stage + (choice.split > 1 ? kJoinBytes : 0));
}

const TileChoice& choose(const DeviceLinearArgs& args) {
  const int processors = processors_of_card();
  return *std::min_element(std::begin(kChoices), std::end(kChoices),
                           [&](const TileChoice& a, const TileChoice& b) {
                             return cost_of(args, a, processors) < cost_of(args, b, processors);
                           });
}

void launch_tiles(const DeviceLinearArgs& args, const uint16_t* x, const TileChoice& choice,
                  cudaStream_t stream) {
  const int64_t inputs = args.products[0].weights.inputs;
  const bool activates = args.result == DeviceResult::kSiluMul;
  TileArgs tiles{.product_count = args.product_count,
                 .rows = static_cast<int32_t>(args.rows),
                 .steps = static_cast<int32_t>(div_ceil(inputs, kTileColumns)),
                 .tiles = tiles_of(args, choice.half),
                 .result = args.result,
                 .activated = args.activated};
  tiles.x = tile_map(kBf16, x, args.rows, inputs, kRows);
  int32_t halves = 0;
  for (int p = 0; p < args.product_count; ++p) {
    const DeviceProduct& product = args.products[static_cast<size_t>(p)];
    const int64_t outputs = product.weights.outputs;
    tiles.weights[p] = tile_map(kBf16, product.weights.data, outputs, inputs, choice.half);
    tiles.products[p] = {product.y, static_cast<int32_t>(outputs), halves};
    halves += static_cast<int32_t>(div_ceil(outputs, choice.half));
  }
  if (activates)
    tiles.tiles = static_cast<int32_t>(div_ceil(tiles.products[0].outputs, choice.half));
  allow_shared(choice.kernel, choice.shared_bytes);
  const int blocks =
      choice.split > 1 ? tiles.tiles * choice.split : std::min(tiles.tiles, processors_of_card());
  launch("rows_by_tiles", choice.kernel,
         {.grid = dim3(static_cast<unsigned>(blocks)),
          .threads = kThreads,
          .shared_bytes = choice.shared_bytes,
          .stream = stream,
          .cluster = choice.split},
         tiles);
}

}  // namespace

void rows_by_tiles(const DeviceLinearArgs& args, const uint16_t* x, cudaStream_t stream) {
  launch_tiles(args, x, choose(args), stream);
}

}  // namespace sluice::kernels::cuda
