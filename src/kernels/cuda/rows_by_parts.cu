// More rows than narrow.cuh takes, and at most 64, by one bf16 matrix whose product is added to y:
// bound by reading the weights once. Tiles of 128 outputs are too few for the card, so several
// blocks share one, each by its part of the inputs (tile_work.cuh); of their sums, which meet in
// global memory, each block adds a share to y once all have come: the parts in their order, the
// same bits every time.
//
// Waiting for blocks is only safe while these run, and other queues (of a second device on this
// card, copies beside the queue, another process) may keep their places taken. So a block looks for
// the others a given number of times at most. Then it says so in the tile's word, leaves, and
// whoever comes last adds its share too: every part is in memory by then. No block waits for long,
// whatever else runs. Reference: kernels/ref/ref_device.cpp.
#include "kernels/cuda/rows_by_parts.cuh"
#include "kernels/cuda/tile_work.cuh"

namespace sluice::kernels::cuda {
namespace {

using namespace tiles;

constexpr int kHalf = kPartOutputs / 2;
using Shape = TileShape<kHalf, 0>;
using Work = TileWork<Shape>;

struct PartArgs {
  TileArgs tiles;
  int32_t parts = 0;             // of a tile
  float4* sums = nullptr;        // (blocks, kPairs, kConsumers): two outputs of each half
  uint32_t* counters = nullptr;  // (tiles)
  int32_t looks = 0;             // at most, of a block for the others
};
constexpr int64_t kSumBytes = int64_t{Work::kPairs} * kConsumers * int64_t{sizeof(float4)};

template <typename W>
struct PartEnd {
  // A tile's word, zero between ops: how many blocks have come, which of them no longer wait, how
  // many have left.
  static constexpr uint32_t kOneCame = 1, kOneLeft = 1u << 16;
  static constexpr int kAloneShift = 8;
  static_assert(kPartsMax <= 8);
  __device__ __forceinline__ static int came_of(uint32_t word) {
    return static_cast<int>(word & 0xff);
  }
  __device__ __forceinline__ static uint32_t alone_of(uint32_t word) {
    return word >> kAloneShift & 0xff;
  }
  __device__ __forceinline__ static int left_of(uint32_t word) {
    return static_cast<int>(word / kOneLeft);
  }

  const PartArgs& args;
  int rank;
  uint32_t* shares;  // in shared memory

  // By the threads that multiply.
  __device__ __forceinline__ void operator()(int tile, const typename W::Sums& d) const {
    float4* mine = sums_of(tile, rank);
#pragma unroll
    for (int i = 0; i < W::kPairs; ++i)
      if (W::first_row() + i % 2 * 8 < args.tiles.rows)
        mine[i * kConsumers] = {d[0][2 * i], d[0][2 * i + 1], d[1][2 * i], d[1][2 * i + 1]};
    meet_threads<kConsumers>();
    uint32_t* word = args.counters + tile;
    if (threadIdx.x == 0) *shares = await_others(word);
    meet_threads<kConsumers>();
    uint32_t before = 0;  // is on its way while the share is added
    if (threadIdx.x == 0) before = atomicAdd(word, kOneLeft);
    for (uint32_t left = *shares; left != 0; left &= left - 1) add_share(tile, __ffs(left) - 1);
    if (threadIdx.x == 0 && left_of(before) + 1 == args.parts) *word = 0;
  }

  // By one thread: the shares that this block adds, as bits.
  __device__ uint32_t await_others(uint32_t* word) const {
    __threadfence();
    const uint32_t before = atomicAdd(word, kOneCame);
    const uint32_t own = 1u << rank;
    if (came_of(before) + 1 == args.parts) {
      __threadfence();
      return own | alone_of(before);
    }
    for (int looks = 0; looks < args.looks; ++looks)
      if (came_of(look(word)) == args.parts) return own;
    // Whoever comes last will see this; or it has come meanwhile and has not.
    const bool is_late = came_of(atomicOr(word, own << kAloneShift)) == args.parts;
    __threadfence();
    return is_late ? own : 0;
  }

  __device__ static uint32_t look(const uint32_t* word) {
    uint32_t seen;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(word) : "memory");
    return seen;
  }

  __device__ float4* sums_of(int tile, int part) const {
    return args.sums + int64_t{tile * args.parts + part} * (W::kPairs * kConsumers) + threadIdx.x;
  }

  // Of all parts, in their order; eight loads are on their way at a time.
  __device__ void add_share(int tile, int share) const {
    constexpr int kTogether = 2, kParts = 4;
    const int end = W::kPairs * (share + 1) / args.parts;
#pragma unroll 1
    for (int first = W::kPairs * share / args.parts; first < end; first += kTogether) {
      float4 sums[kTogether] = {};
#pragma unroll 1
      for (int part = 0; part < args.parts; part += kParts) {
        float4 v[kParts][kTogether] = {};
#pragma unroll
        for (int k = 0; k < kParts; ++k) {
          if (part + k >= args.parts) continue;
          const float4* from = sums_of(tile, part + k);
#pragma unroll
          for (int j = 0; j < kTogether; ++j)
            if (first + j < end && W::first_row() + (first + j) % 2 * 8 < args.tiles.rows)
              v[k][j] = __ldcg(from + (first + j) * kConsumers);
        }
#pragma unroll
        for (int k = 0; k < kParts; ++k)
#pragma unroll
          for (int j = 0; j < kTogether; ++j) {
            float4& sum = sums[j];
            sum = {sum.x + v[k][j].x, sum.y + v[k][j].y, sum.z + v[k][j].z, sum.w + v[k][j].w};
          }
      }
#pragma unroll
      for (int j = 0; j < kTogether; ++j)
        if (first + j < end) {
          add(tile, 0, first + j, sums[j].x, sums[j].y);
          add(tile, 1, first + j, sums[j].z, sums[j].w);
        }
    }
  }

  // Nobody else adds here: it saves the way there and back.
  __device__ __forceinline__ void add(int tile, int half, int i, float a, float b) const {
    const TileProduct& product = args.tiles.products[0];
    const int output = (2 * tile + half) * kHalf + W::column_of(i), row = W::row_of(i);
    if (row >= args.tiles.rows || output >= product.outputs) return;
    asm volatile("red.global.add.v2.f32 [%0], {%1, %2};" ::"l"(
                     product.y + int64_t{row} * product.outputs + output),
                 "f"(a), "f"(b)
                 : "memory");
  }
};

template <typename S>
__device__ __forceinline__ void run_parts(const PartArgs& args) {
  extern __shared__ std::byte shared[];
  __shared__ uint64_t barriers[2 * S::kStages];
  __shared__ uint32_t shares;
  let_next_start();
  const uint32_t begin = shared_address(shared);
  const uint32_t skipped = (kTileAlignment - begin % kTileAlignment) % kTileAlignment;
  const int rank = static_cast<int>(blockIdx.x) % args.parts;
  const TileWork<S> work(args.tiles, block_part(args.tiles, args.parts, rank), begin + skipped,
                         barriers);
  if (threadIdx.x == 0) work.begin();
  __syncthreads();
  if (threadIdx.x < kConsumers) return work.consume(PartEnd<TileWork<S>>{args, rank, &shares});
  if (threadIdx.x == kConsumers) work.produce();
}

template <typename S>
__global__ void __launch_bounds__(kThreads, 1) parts_kernel(const __grid_constant__ PartArgs args) {
  if constexpr (kCard.has_tiles)
    run_parts<S>(args);
  else
    __trap();  // parts_of_tile() says no
}

}  // namespace

void rows_by_parts(const DeviceLinearArgs& args, const uint16_t* x, int parts,
                   const CodeScratch& scratch, cudaStream_t stream) {
  const PartArgs work{.tiles = tile_args(args, x, kHalf),
                      .parts = parts,
                      .sums = reinterpret_cast<float4*>(scratch.parts),
                      .counters = scratch.counters,
                      .looks = scratch.looks};
  const int blocks = work.tiles.tiles * parts;
  check(blocks * kSumBytes <= kCodePartBytes && work.tiles.tiles <= kCodeCounters
            ? cudaSuccess
            : cudaErrorInvalidValue,
        "room for sums");
  const auto kernel = parts_kernel<Shape>;
  allow_shared(kernel, Shape::kSharedBytes);
  launch("rows_by_parts", kernel,
         {.grid = dim3(static_cast<unsigned>(blocks)),
          .threads = kThreads,
          .shared_bytes = Shape::kSharedBytes,
          .stream = stream},
         work);
}

}  // namespace sluice::kernels::cuda
