// More rows than narrow.cuh takes, and at most 64, by bf16 matrices whose products are stored or go
// through silu: bound by reading the weights once. All rows are one operand of wgmma, padded to 64,
// so a tile of outputs may be as wide as it takes to give every multiprocessor one; the inputs of
// few outputs are split over a cluster, whose blocks send each other the sums of the rows that are
// the other's, which it adds in order: the same bits every time. What is added to y is
// rows_by_parts.cu's.
//
// One warp copies tiles into a ring as long as there is room, weights before the op before has
// ended; two groups of four multiply, each by its part of both halves (tile_work.cuh).
// Reference: kernels/ref/ref_device.cpp.
#include <algorithm>

#include "kernels/cuda/rows_by_tiles.cuh"
#include "kernels/cuda/tile_work.cuh"

namespace sluice::kernels::cuda {
namespace {

using namespace tiles;

// Behind the ring is what the other blocks of a cluster send, (kSplit - 1, kOwnRows, kPitch)
// floats; rows of pairs in different banks.
template <int kHalf>
constexpr int kPitch = 2 * kHalf + 8;
template <int kHalf, int kSplit>
constexpr int kSentBytes = (kSplit - 1) * (kRows / kSplit) * kPitch<kHalf>* int{sizeof(float)};
template <int kHalf, int kSplit>
struct Shape : TileShape<kHalf, kSentBytes<kHalf, kSplit>> {
  static constexpr int kOwnRows = kRows / kSplit;
  static_assert(kOwnRows % 16 == 0);
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

// What becomes of a tile's sums.
template <int kHalf, int kSplit>
struct TileEnd {
  using S = Shape<kHalf, kSplit>;
  using Work = TileWork<S>;
  using Sums = typename Work::Sums;

  const TileArgs& args;
  float* sent;  // of this block, in shared memory

  __device__ __forceinline__ void operator()(int tile, Sums& d) const {
    if constexpr (kSplit > 1) {
      if (!join(d)) return;
    }
    const HalfPlace places[2] = {half_place<kHalf>(args, tile, 0),
                                 half_place<kHalf>(args, tile, 1)};
    const bool activates = args.result == DeviceResult::kSiluMul;
#pragma unroll
    for (int i = 0; i < Work::kPairs; ++i) {
      const int row = Work::row_of(i), column = Work::column_of(i);
      const float2 first{d[0][2 * i], d[0][2 * i + 1]}, second{d[1][2 * i], d[1][2 * i + 1]};
      put(args, places[0], row, column, first, second);
      if (!activates) put(args, places[1], row, column, second, second);
    }
  }

  // Each warp's rows are those of one block of the cluster; the other blocks send it theirs. False:
  // they are another's.
  __device__ __forceinline__ bool join(Sums& d) const {
    const int rank = cluster_rank(), first_row = Work::first_row();
    const int owner = first_row / S::kOwnRows;
    const auto place_of = [&](float* base, int from, int to, int half, int i) {
      const int slot = from < to ? from : from - 1;
      const int row = Work::row_of(i) - owner * S::kOwnRows;
      return reinterpret_cast<float2*>(base + (slot * S::kOwnRows + row) * kPitch<kHalf> +
                                       half * kHalf + Work::column_of(i));
    };
    const auto for_all = [&](const auto& act) {
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int i = 0; i < Work::kPairs; ++i) act(half, i, d[half][2 * i], d[half][2 * i + 1]);
    };
    __syncwarp();
    await_cluster();  // all blocks have begun
    if (owner != rank) {
      float* there = of_block(sent, owner);
      for_all([&](int half, int i, float& a, float& b) {
        *place_of(there, rank, owner, half, i) = {a, b};
      });
    }
    meet_cluster();
    if (owner != rank) return false;
    for_all([&](int half, int i, float& a, float& b) {
      float2 all{0, 0};
#pragma unroll
      for (int from = 0; from < kSplit; ++from) {
        const float2 part = from == rank ? float2{a, b} : *place_of(sent, from, rank, half, i);
        all = {all.x + part.x, all.y + part.y};
      }
      a = all.x;
      b = all.y;
    });
    return true;
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
  const TileWork<S> work(args, block_part(args, kSplit, kSplit > 1 ? cluster_rank() : 0),
                         begin + skipped, barriers);
  if (threadIdx.x == 0) work.begin();
  __syncthreads();
  if constexpr (kSplit > 1) arrive_at_cluster();
  if (threadIdx.x < kConsumers)
    return work.consume(
        TileEnd<kHalf, kSplit>{args, reinterpret_cast<float*>(shared + skipped + S::kRingBytes)});
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
  const TileArgs work = tile_args(args, x, choice.half);
  allow_shared(choice.kernel, choice.shared_bytes);
  const int blocks =
      choice.split > 1 ? work.tiles * choice.split : std::min(work.tiles, processors_of_card());
  launch("rows_by_tiles", choice.kernel,
         {.grid = dim3(static_cast<unsigned>(blocks)),
          .threads = kThreads,
          .shared_bytes = choice.shared_bytes,
          .stream = stream,
          .cluster = choice.split},
         work);
}

}  // namespace

void rows_by_tiles(const DeviceLinearArgs& args, const uint16_t* x, cudaStream_t stream) {
  launch_tiles(args, x, choose(args), stream);
}

}  // namespace sluice::kernels::cuda
