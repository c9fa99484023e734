// More rows than narrow.cuh takes, and at most 64, by several bf16 matrices: bound by reading the
// weights once. All rows are one operand of wgmma, padded to 64, so a tile of outputs may be as
// wide as it takes to give every multiprocessor one; the inputs of few outputs are split over a
// cluster, whose blocks add up through each other's shared memory, in order: the same bits every
// time.
//
// One warp copies tiles into a ring as long as there is room, weights before the op before has
// ended; four multiply. A block's tile is two halves of kHalf outputs: of kSiluMul one of each
// matrix, otherwise two that follow each other in the row of all products' halves.
// Reference: kernels/ref/ref_device.cpp.
#include <cudaTypedefs.h>

#include <algorithm>

#include "kernels/cuda/rows_by_tiles.cuh"
#include "kernels/cuda/tensor_copy.cuh"

namespace sluice::kernels::cuda {
namespace {

constexpr int kRows = kRowsByTilesMax;
constexpr int kConsumers = 128;  // threads that multiply: one group of wgmma
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
  static constexpr int kHalfBytes = kHalf * kTileRowBytes;
  static constexpr int kStageBytes = 2 * kHalfBytes + kInputBytes;
  static constexpr int kStages =
      static_cast<int>((kSharedBytesMax - 2 * kTileAlignment) / kStageBytes);
  static constexpr size_t kSharedBytes = kStages * kStageBytes + kTileAlignment;
  // Sums of a block of a cluster, (kRows, kPitch) floats; rows of pairs in different banks.
  static constexpr int kPitch = 2 * kHalf + 8;
  static_assert(kHalfBytes % kTileAlignment == 0);
  static_assert(kRows * kPitch * 4 <= kStages * kStageBytes);
};

__device__ __forceinline__ float silu_of(float x) {
  return x / (1 + __expf(-x));
}

// Two outputs of a row, both of one half; `up`: of kSiluMul, those of the other half.
__device__ __forceinline__ void put(const TileArgs& args, HalfPlace place, int row, int column,
                                    float2 value, float2 up) {
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

  __device__ uint32_t stage_at(int turn) const { return ring + turn % S::kStages * S::kStageBytes; }
  __device__ uint32_t barrier_of(uint32_t from, int turn) const {
    return from + turn % S::kStages * 8;
  }
  __device__ uint32_t parity_of(int turn) const {
    return static_cast<uint32_t>(turn / S::kStages % 2);
  }

  __device__ void copy_weights(int turn) const {
    const int tile = first_tile + turn / steps * tile_step;
    const int column = (first_step + turn % steps) * kTileColumns;
    const uint32_t barrier = barrier_of(full, turn);
    arrive_and_expect(barrier, S::kStageBytes);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const HalfPlace place = half_place<kHalf>(args, tile, half);
      copy_tile(stage_at(turn) + half * S::kHalfBytes, args.weights[place.product], column,
                place.first, barrier, kLeavesFirst);
    }
  }
  __device__ void copy_inputs(int turn) const {
    copy_tile(stage_at(turn) + 2 * S::kHalfBytes, args.x,
              (first_step + turn % steps) * kTileColumns, 0, barrier_of(full, turn), kStays);
  }
  // By one thread.
  __device__ void produce() const {
    const int ahead = min(turns, S::kStages);
    for (int turn = 0; turn < ahead; ++turn) copy_weights(turn);
    wait_for_previous();
    for (int turn = 0; turn < ahead; ++turn) copy_inputs(turn);
    for (int turn = ahead; turn < turns; ++turn) {
      wait_barrier(barrier_of(empty, turn), parity_of(turn) ^ 1);
      copy_weights(turn);
      copy_inputs(turn);
    }
  }

  // By the threads that multiply.
  __device__ void consume(float* sums) const {
    float d[2][kHalf / 2];
    const bool is_first_lane = threadIdx.x % 32 == 0;
    wait_for_previous();
    for (int turn = 0; turn < turns;) {
      const int tile = first_tile + turn / steps * tile_step;
      for (int step = 0; step < steps; ++step, ++turn) {
        wait_barrier(barrier_of(full, turn), parity_of(turn));
        const uint64_t weights = tile_descriptor(stage_at(turn));
        const uint64_t more_weights = tile_descriptor(stage_at(turn) + S::kHalfBytes);
        const uint64_t inputs = tile_descriptor(stage_at(turn) + 2 * S::kHalfBytes);
        begin_products();
#pragma unroll
        for (int column = 0; column < kTileColumns; column += 16) {
          const bool adds = step > 0 || column > 0;
          multiply_tile<kHalf>(d[0], at_column(inputs, column), at_column(weights, column), adds);
          multiply_tile<kHalf>(d[1], at_column(inputs, column), at_column(more_weights, column),
                               adds);
        }
        end_products();
        wait_products<1>();
        if (step > 0 && is_first_lane) arrive(barrier_of(empty, turn - 1));
      }
      wait_products<0>();
      if (is_first_lane) arrive(barrier_of(empty, turn - 1));
      if constexpr (kSplit == 1)
        put_all(tile, d);
      else
        share(d, sums);
    }
  }

  __device__ void put_all(int tile, const float (&d)[2][kHalf / 2]) const {
    const int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4;
    const HalfPlace places[2] = {half_place<kHalf>(args, tile, 0),
                                 half_place<kHalf>(args, tile, 1)};
    const bool activates = args.result == DeviceResult::kSiluMul;
#pragma unroll
    for (int j = 0; j < kHalf / 8; ++j)
#pragma unroll
      for (int more = 0; more < 2; ++more) {
        const int column = j * 8 + lane % 4 * 2, i = j * 4 + more * 2;
        const float2 first{d[0][i], d[0][i + 1]}, second{d[1][i], d[1][i + 1]};
        put(args, places[0], row + more * 8, column, first, second);
        if (!activates) put(args, places[1], row + more * 8, column, second, second);
      }
  }

  // To this block's shared memory, once nobody multiplies there.
  __device__ void share(const float (&d)[2][kHalf / 2], float* sums) const {
    meet_threads<kConsumers>();
    const int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4;
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int j = 0; j < kHalf / 8; ++j)
#pragma unroll
        for (int more = 0; more < 2; ++more) {
          const int column = half * kHalf + j * 8 + lane % 4 * 2, i = j * 4 + more * 2;
          *reinterpret_cast<float2*>(sums + (row + more * 8) * S::kPitch + column) = {
              d[half][i], d[half][i + 1]};
        }
  }

  __device__ __forceinline__ static float2 sum_of(const float* sums, int row, int column) {
    float2 all{0, 0};
#pragma unroll
    for (int rank = 0; rank < kSplit; ++rank) {
      const float2 part =
          *reinterpret_cast<const float2*>(of_block(sums, rank) + row * S::kPitch + column);
      all.x += part.x;
      all.y += part.y;
    }
    return all;
  }

  // The rows of this block of the cluster, by all threads.
  __device__ void join(const float* sums) const {
    meet_cluster();
    constexpr int kOwnRows = kRows / kSplit;
    const bool activates = args.result == DeviceResult::kSiluMul;
    const int first_row = cluster_rank() * kOwnRows, pairs = activates ? kHalf / 2 : kHalf;
    const HalfPlace places[2] = {half_place<kHalf>(args, first_tile, 0),
                                 half_place<kHalf>(args, first_tile, 1)};
    for (int i = threadIdx.x; i < kOwnRows * pairs; i += kThreads) {
      const int row = first_row + i / pairs, column = i % pairs * 2;
      if (row >= args.rows) break;
      const float2 value = sum_of(sums, row, column);
      const float2 up = activates ? sum_of(sums, row, column + kHalf) : value;
      put(args, places[column / kHalf], row, column % kHalf, value, up);
    }
    meet_cluster();  // nobody leaves whose memory is read
  }
};

template <int kHalf, int kSplit>
__global__ void __cluster_dims__(kSplit, 1, 1) __launch_bounds__(kThreads, 1)
    tiles_kernel(const __grid_constant__ TileArgs args) {
  using S = Shape<kHalf, kSplit>;
  extern __shared__ std::byte shared[];
  __shared__ uint64_t barriers[2 * S::kStages];
  let_next_start();
  const uint32_t begin = shared_address(shared);
  const uint32_t skipped = (kTileAlignment - begin % kTileAlignment) % kTileAlignment;
  const TileWork<kHalf, kSplit> work(args, begin + skipped, shared_address(barriers));
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < S::kStages; ++stage) {
      begin_barrier(work.barrier_of(work.full, stage), 1);
      begin_barrier(work.barrier_of(work.empty, stage), kConsumers / 32);
    }
    publish_barriers();
  }
  __syncthreads();
  auto* sums = reinterpret_cast<float*>(shared + skipped);
  if (threadIdx.x < kConsumers) {
    work.consume(sums);
  } else if (threadIdx.x == kConsumers) {
    work.produce();
  }
  if constexpr (kSplit > 1) {
    __syncwarp();
    work.join(sums);
  }
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

int processors_of_card() {
  static const int processors = [] {
    int card = 0, count = 0;
    check(cudaGetDevice(&card), "card");
    check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, card), "processors");
    return count;
  }();
  return processors;
}

const TileChoice& choose(const DeviceLinearArgs& args) {
  const int processors = processors_of_card();
  return *std::min_element(std::begin(kChoices), std::end(kChoices),
                           [&](const TileChoice& a, const TileChoice& b) {
                             return cost_of(args, a, processors) < cost_of(args, b, processors);
                           });
}

// A bf16 matrix (rows, columns), copied in boxes of (box_rows, 64).
CUtensorMap map_of(const void* data, int64_t rows, int64_t columns, int box_rows) {
  static const auto encode = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000,
                                           cudaEnableDefault, &result),
          "cuTensorMapEncodeTiled");
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(found);
  }();
  CUtensorMap map;
  const cuuint64_t size[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t row_bytes[] = {static_cast<cuuint64_t>(columns) * 2};
  const cuuint32_t box[] = {kTileColumns, static_cast<cuuint32_t>(box_rows)}, every[] = {1, 1};
  const CUresult made =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<void*>(data), size, row_bytes,
             box, every, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check(made == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue, "tensor map");
  return map;
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
  tiles.x = map_of(x, args.rows, inputs, kRows);
  int32_t halves = 0;
  for (int p = 0; p < args.product_count; ++p) {
    const DeviceProduct& product = args.products[static_cast<size_t>(p)];
    const int64_t outputs = product.weights.outputs;
    tiles.weights[p] = map_of(product.weights.data, outputs, inputs, choice.half);
    tiles.products[p] = {product.y, static_cast<int32_t>(outputs), halves};
    halves += static_cast<int32_t>(div_ceil(outputs, choice.half));
  }
  if (activates)
    tiles.tiles = static_cast<int32_t>(div_ceil(tiles.products[0].outputs, choice.half));
  allow_shared(choice.kernel, choice.shared_bytes);
  const int blocks =
      choice.split > 1 ? tiles.tiles * choice.split : std::min(tiles.tiles, processors_of_card());
  launch("rows_by_tiles", choice.kernel,
         {dim3(static_cast<unsigned>(blocks)), kThreads, choice.shared_bytes, stream}, tiles);
}

}  // namespace

bool rows_fit_tiles(const DeviceLinearArgs& args) {
  bool fit =
      args.rows <= kRowsByTilesMax && args.product_count > 1 && args.result != DeviceResult::kAdd;
  for (int32_t p = 0; p < args.product_count; ++p) {
    const PackedWeights& w = args.products[static_cast<size_t>(p)].weights;
    fit = fit && w.type == core::DType::kBF16 && w.outputs % 2 == 0 && w.inputs % 8 == 0;
  }
  return fit;
}

void rows_by_tiles(const DeviceLinearArgs& args, const uint16_t* x, cudaStream_t stream) {
  launch_tiles(args, x, choose(args), stream);
}

}  // namespace sluice::kernels::cuda
