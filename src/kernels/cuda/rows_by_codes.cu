// 5 to 64 rows, of e4m3 from 3 on, by matrices kept in blocks: bound by reading the weights once.
// The weights are the first operand of wgmma, 64 outputs at a time, decoded from shared memory into
// registers (code_operands.cuh); the rows, padded to 16, 32 or 64, are the second, in shared
// memory.
//
// A tile is two halves of outputs: of kSiluMul one of each matrix, otherwise two that follow each
// other in the row of all products' halves. Its unit is one stage of inputs, and a block has `per`
// consecutive units of all tiles': whole tiles, or a part of one, whose sums the last block that
// comes adds in the blocks' order: the same bits every time. How a sum is divided follows from
// CodeTiles; columns do not change a sum.
//
// One warp copies weights into a ring as long as there is room, before the op before has ended;
// four put x into another, its inputs in the order of the operand; sixteen multiply, four groups of
// kTiles · 64 outputs. Where kTiles is less than four, groups share outputs and take units in turn.
// Reference: kernels/ref/ref_device.cpp.
#include <algorithm>

#include "kernels/cuda/code_shape.cuh"
#include "kernels/cuda/rows_by_codes.cuh"
#include "kernels/cuda/tensor_copy.cuh"
#include "kernels/cuda/tensor_map.cuh"
#include "kernels/device_weights.h"

namespace sluice::kernels::cuda {
namespace {

using namespace codes;

// Bars of a block's groups; 0 is __syncthreads().
[[maybe_unused]] __device__ __forceinline__ void meet(int bar, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(bar), "r"(threads) : "memory");
}

// Products read their operand's registers until they have been waited for.
template <int kRuns>
__device__ __forceinline__ void keep(CodeOperand (&a)[kRuns]) {
#pragma unroll
  for (CodeOperand& of_run : a)
#pragma unroll
    for (int i = 0; i < 8; ++i) asm volatile("" : "+r"(of_run[i / 4][i % 4])::"memory");
}

template <typename S>
struct CodeWork {
  static constexpr int kStages = S::kStages, kXStages = S::kXStages, kSums = S::kSums;
  static constexpr int kBatchRuns = S::kBatchRuns, kXScaleBytes = S::Codes::kXScaleBytes;
  using Sums = float[kSums];

  const CodeArgs& args;
  std::byte* ring;    // kStages × { codes of both halves, scales of both }
  std::byte* x_ring;  // kXStages × kXInputs / 64 × (kColumns, 64)
  float* joined;      // (kSlices - 1, kTiles, kSums, kGroupThreads)
  uint32_t* is_last;  // (kTiles)
  uint32_t full;      // kStages barriers
  uint32_t empty;     // the same
  uint32_t x_full;    // kXStages
  uint32_t x_empty;   // the same
  int begin;          // units
  int end;

  // ---- Weights: one warp ----
  // The accelerator takes as long for 16 bytes of a row as for 128, so scales are copied by all
  // lanes.
  __device__ void copy_scales(int stage, const HalfPlace (&places)[2], int step) const {
    const int lane = threadIdx.x % 32;
    constexpr int kChunks = S::kScaleRowBytes / 16;
    const int64_t row_bytes = int64_t{args.inputs} / S::Codes::kScaleInputs * S::kScaleRowBytes;
    const int64_t column = step * S::Codes::kInputs / S::Codes::kScaleInputs * S::kScaleRowBytes;
    const uint32_t to =
        shared_address(ring) + stage * S::kStageBytes + 2 * S::kHalfBytes + lane * 16;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const CodeProduct& product = args.products[places[half].product];
#pragma unroll
      for (int i = 0; i < S::kHalf * kChunks / 32; ++i) {
        const int at = i * 32 + lane, output = places[half].first + at / kChunks;
        const bool has = output < product.outputs;
        copy_16(to + half * S::kHalfScaleBytes + i * 512,
                product.scales + (has ? output * row_bytes + column + at % kChunks * 16 : 0), has);
      }
    }
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(full + stage * 8)
                 : "memory");
  }
  __device__ void copy_weights() const {
    RingPlace<kStages> at;
    int tile = begin / args.steps, step = begin % args.steps;
    HalfPlace places[2];
    const auto enter = [&] {
      for (int half = 0; half < 2; ++half) places[half] = half_place<S::kHalf>(args, tile, half);
    };
    enter();
    for (int unit = begin; unit < end; ++unit, at.advance(1)) {
      if (unit - begin >= kStages) wait_barrier(empty + at.stage * 8, at.parity ^ 1);
      if (threadIdx.x % 32 == 0) {
        const uint32_t barrier = full + at.stage * 8;
        const uint32_t to = shared_address(ring) + at.stage * S::kStageBytes;
        arrive_and_expect(barrier, 2 * S::kHalfBytes);
#pragma unroll
        for (int half = 0; half < 2; ++half)
          copy_tile(to + half * S::kHalfBytes, args.codes[places[half].product],
                    step * kCodeRowBytes, places[half].first, barrier, kLeavesFirst);
      }
      __syncwarp();
      copy_scales(at.stage, places, step);
      if (++step < args.steps) continue;
      step = 0;
      ++tile;
      enter();
    }
  }

  // ---- x: four warps ----
  // A thread has 8 inputs of every eighth row: half of a run of 16, whose pairs go to two chunks.
  struct Loaded {
    uint4 rows[S::kColumns / 8];
  };
  __device__ void load_x(Loaded& v, const uint16_t* from) const {
    const int row = (threadIdx.x - kConsumers) / 16;
#pragma unroll
    for (int i = 0; i < S::kColumns / 8; ++i)
      if (row + i * 8 < args.rows)
        v.rows[i] = __ldcg(reinterpret_cast<const uint4*>(from + int64_t{i} * 8 * args.inputs));
  }
  __device__ void store_x(const Loaded& v, std::byte* to) const {
    const int thread = threadIdx.x - kConsumers, row = thread / 16, chunk = thread % 16;
    std::byte* at = to + chunk / 8 * S::kXPartBytes + row * kTileRowBytes + chunk % 2 * 8;
    const int lower = (chunk % 8 & ~1) ^ row, upper = (chunk % 8 | 1) ^ row;
#pragma unroll
    for (int i = 0; i < S::kColumns / 8; ++i) {
      if (i * 8 >= args.rows) break;
      const uint4& w = v.rows[i];
      std::byte* here = at + i * 8 * kTileRowBytes;
      *reinterpret_cast<uint2*>(here + lower * 16) = {__byte_perm(w.x, w.y, 0x5410),
                                                      __byte_perm(w.z, w.w, 0x5410)};
      *reinterpret_cast<uint2*>(here + upper * 16) = {__byte_perm(w.x, w.y, 0x7632),
                                                      __byte_perm(w.z, w.w, 0x7632)};
    }
  }
  __device__ void copy_x() const {
    const int thread = threadIdx.x - kConsumers;
    const int of_tile = args.steps * S::kXOfUnit;  // stages
    const int stages = (end - begin) * S::kXOfUnit;
    int step = begin % args.steps * S::kXOfUnit;
    const uint16_t* const mine = args.x + int64_t{thread} / 16 * args.inputs + thread % 16 * 8;
    const auto next = [&] {
      const uint16_t* from = mine + int64_t{step} * kXInputs;
      if (++step == of_tile) step = 0;
      return from;
    };
    RingPlace<kXStages> at;
    int stored = 0;
    const auto store = [&](const Loaded& v) {
      if (stored >= kXStages) wait_barrier(x_empty + at.stage * 8, at.parity ^ 1);
      store_x(v, x_ring + at.stage * S::kXStageBytes);
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
      __syncwarp();
      if (thread % 32 == 0) arrive(x_full + at.stage * 8);
      at.advance(1);
      ++stored;
    };
    wait_for_previous();
    Loaded first{}, second{};
    load_x(first, next());
    if (stages > 1) load_x(second, next());
    for (int i = 0; i < stages; i += 2) {
      store(first);
      if (i + 2 < stages) load_x(first, next());
      if (i + 1 == stages) break;
      store(second);
      if (i + 3 < stages) load_x(second, next());
    }
  }

  // ---- Products ----
  __device__ static int group() {
    return threadIdx.x / kGroupThreads;
  }
  __device__ static int tile_of_group() {
    return group() % S::kTiles;
  }
  __device__ static int slice() {
    return group() / S::kTiles;
  }
  // Of the group's halves.
  __device__ static int output_of_thread() {
    return tile_of_group() * 32 + threadIdx.x % kGroupThreads / 32 * 8 + threadIdx.x % 32 / 4;
  }

  struct Cursor {
    RingPlace<kStages> weights;
    RingPlace<kXStages> x;
    uint32_t used = 0;  // the barrier of the stage of x before
  };

  static __device__ __forceinline__ void load_factors(uint32_t (&factors)[kXScaleBytes / 4],
                                                      const std::byte* from) {
    if constexpr (kXScaleBytes == 4) {
      factors[0] = *reinterpret_cast<const uint32_t*>(from);
    } else {
#pragma unroll
      for (int i = 0; i < kXScaleBytes / 4; i += 2) {
        const uint2 two = *reinterpret_cast<const uint2*>(from + i * 4);
        factors[i] = two.x;
        factors[i + 1] = two.y;
      }
    }
  }

  __device__ __forceinline__ void multiply_unit(Sums& d, Cursor& at, int step) const {
    const int output = output_of_thread(), lane = threadIdx.x % 32;
    const std::byte* stage = ring + at.weights.stage * S::kStageBytes;
    const std::byte* rows[2];
    const std::byte* scales[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      rows[half] =
          stage + half * S::kHalfBytes + output * kCodeRowBytes + (lane / 4 << 4) + lane % 4 * 4;
      scales[half] = stage + 2 * S::kHalfBytes + half * S::kHalfScaleBytes +
                     output * S::kScaleRowBytes +
                     step * S::Codes::kInputs % S::Codes::kScaleInputs / kXInputs * kXScaleBytes;
    }
    wait_barrier(full + at.weights.stage * 8, at.weights.parity);
#pragma unroll
    for (int part = 0; part < S::kXOfUnit; ++part) {
      uint32_t factors[2][kXScaleBytes / 4];
#pragma unroll
      for (int half = 0; half < 2; ++half)
        load_factors(factors[half], scales[half] + part * kXScaleBytes);
      wait_barrier(x_full + at.x.stage * 8, at.x.parity);
      const uint32_t inputs = shared_address(x_ring) + at.x.stage * S::kXStageBytes;
      CodeOperand a[2][kBatchRuns];
#pragma unroll
      for (int batch = 0; batch < 4 / kBatchRuns; ++batch) {
        CodeOperand(&operands)[kBatchRuns] = a[batch % 2];
#pragma unroll
        for (int i = 0; i < kBatchRuns; ++i)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            S::Codes::decode(operands[i], half, rows[half], part * 4 + batch * kBatchRuns + i,
                             factors[half]);
        if (part + 1 == S::kXOfUnit && batch + 1 == 4 / kBatchRuns) {
          __syncwarp();
          if (lane == 0) arrive(empty + at.weights.stage * 8);
        }
        begin_products();
#pragma unroll
        for (int i = 0; i < kBatchRuns * 2; ++i) {
          const int column = (batch * kBatchRuns * 2 + i) * 16;
          const uint64_t b =
              at_column(tile_descriptor(inputs + column / kTileColumns * S::kXPartBytes),
                        column % kTileColumns);
          multiply_codes<S::kColumns>(d, operands[i / 2][i % 2], b);
        }
        end_products();
        wait_products<1>();
        keep(a[(batch + 1) % 2]);
        if (batch == 0 && at.used != 0 && lane == 0) arrive(at.used);
      }
      at.used = x_empty + at.x.stage * 8;
      at.x.advance(1);
    }
    at.weights.advance(1);
  }

  __device__ void consume() const {
    wait_for_previous();
    Cursor at;
    at.weights.stage = slice();
    at.x.stage = slice() * S::kXOfUnit;
    int unit = begin + slice();
    const int first_tile = begin / args.steps;
    int tile = first_tile, tile_begin = tile * args.steps;
    for (; tile_begin < end; ++tile, tile_begin += args.steps) {
      const int tile_end = min(tile_begin + args.steps, end);
      float d[kSums] = {};
      for (; unit < tile_end; unit += S::kSlices) {
        multiply_unit(d, at, unit - tile_begin);
        at.weights.advance(S::kSlices - 1);
        at.x.advance((S::kSlices - 1) * S::kXOfUnit);
      }
      wait_products<0>();
      if (at.used != 0 && threadIdx.x % 32 == 0) arrive(at.used);
      at.used = 0;
      if constexpr (S::Codes::kUnit != 1) {
#pragma unroll
        for (float& sum : d) sum *= S::Codes::kUnit;
      }
      if constexpr (S::kSlices > 1) join_slices(d);
      finish(d, tile, tile != first_tile);
      if constexpr (S::kSlices > 1) meet_slices();  // what was joined is read
    }
  }

  // Of all slices of a tile.
  __device__ static void meet_slices() {
    meet(1 + tile_of_group(), S::kSlices * kGroupThreads);
  }
  // The sums of all slices, in their order, to the first.
  __device__ void join_slices(Sums& d) const {
    constexpr int kOfSlice = S::kTiles * kSums * kGroupThreads;
    float* mine = joined + tile_of_group() * kSums * kGroupThreads + threadIdx.x % kGroupThreads;
    if (slice() > 0) {
#pragma unroll
      for (int i = 0; i < kSums; ++i) mine[(slice() - 1) * kOfSlice + i * kGroupThreads] = d[i];
    }
    meet_slices();
    if (slice() == 0) {
#pragma unroll
      for (int i = 0; i < kSums; ++i)
#pragma unroll
        for (int s = 1; s < S::kSlices; ++s) d[i] += mine[(s - 1) * kOfSlice + i * kGroupThreads];
    }
  }

  __device__ void finish(Sums& d, int tile, bool is_later) const {
    const int first = tile * args.steps / args.per;
    const int last = ((tile + 1) * args.steps - 1) / args.per;
    const HalfPlace places[2] = {half_place<S::kHalf>(args, tile, 0),
                                 half_place<S::kHalf>(args, tile, 1)};
    if (first == last) {
      if (slice() > 0) return;
#pragma unroll
      for (int i = 0; i < kSums / 4; ++i)
        put(places, i, {d[4 * i], d[4 * i + 1], d[4 * i + 2], d[4 * i + 3]});
      return;
    }
    if (slice() == 0) {
      float4* mine = part_of(static_cast<int>(blockIdx.x), is_later);
#pragma unroll
      for (int i = 0; i < kSums / 4; ++i)
        mine[i * kGroupThreads] = {d[4 * i], d[4 * i + 1], d[4 * i + 2], d[4 * i + 3]};
      __threadfence();
    }
    meet_slices();
    if (slice() == 0 && threadIdx.x % kGroupThreads == 0) {
      uint32_t* counter = args.scratch.counters + tile * S::kTiles + tile_of_group();
      const bool comes_last = atomicAdd(counter, 1) == static_cast<uint32_t>(last - first);
      if (comes_last) *counter = 0;
      is_last[tile_of_group()] = comes_last ? 1 : 0;
      __threadfence();
    }
    meet_slices();
    if (is_last[tile_of_group()] == 0) return;
    __threadfence();
    add_parts(places, tile, first, last);
  }

  // Of this group's outputs: a block may have parts of two tiles.
  __device__ float4* part_of(int block, bool is_later) const {
    return reinterpret_cast<float4*>(args.scratch.parts) +
           int64_t{(block * 2 + (is_later ? 1 : 0)) * S::kTiles + tile_of_group()} *
               (kSums / 4 * kGroupThreads) +
           threadIdx.x % kGroupThreads;
  }

  // The sums of all blocks that have units of the tile, in their order. Each slice has a share;
  // eight loads are on their way at a time.
  __device__ void add_parts(const HalfPlace (&places)[2], int tile, int first, int last) const {
    constexpr int kShare = kSums / 4 / S::kSlices, kTogether = 2, kParts = 4;
    static_assert(kShare % kTogether == 0 || kShare == 1);
    constexpr int kStep = kShare < kTogether ? 1 : kTogether;
#pragma unroll 1
    for (int i = slice() * kShare; i < (slice() + 1) * kShare; i += kStep) {
      float4 sums[kStep] = {};
#pragma unroll 1
      for (int block = first; block <= last; block += kParts) {
        float4 v[kParts][kStep] = {};
#pragma unroll
        for (int k = 0; k < kParts; ++k) {
          if (block + k > last) continue;
          const float4* part = part_of(block + k, (block + k) * args.per / args.steps != tile);
#pragma unroll
          for (int j = 0; j < kStep; ++j) v[k][j] = __ldcg(part + (i + j) * kGroupThreads);
        }
#pragma unroll
        for (int k = 0; k < kParts; ++k)
#pragma unroll
          for (int j = 0; j < kStep; ++j) {
            float4& sum = sums[j];
            sum = {sum.x + v[k][j].x, sum.y + v[k][j].y, sum.z + v[k][j].z, sum.w + v[k][j].w};
          }
      }
#pragma unroll
      for (int j = 0; j < kStep; ++j) put(places, i + j, sums[j]);
    }
  }

  // The group's sums of rows 8 i to 8 i + 7: two of this thread's output of each half.
  __device__ __forceinline__ void put(const HalfPlace (&places)[2], int i, const float4& v) const {
    const int row = i * 8 + threadIdx.x % 4 * 2;
    if (args.result == DeviceResult::kSiluMul) {
      put_value(places[0], row, silu_of(v.x) * v.z);
      put_value(places[0], row + 1, silu_of(v.y) * v.w);
      return;
    }
    put_value(places[0], row, v.x);
    put_value(places[0], row + 1, v.y);
    put_value(places[1], row, v.z);
    put_value(places[1], row + 1, v.w);
  }
  __device__ __forceinline__ void put_value(const HalfPlace& place, int row, float value) const {
    const CodeProduct& product = args.products[place.product];
    const int output = place.first + output_of_thread();
    if (row >= args.rows || output >= product.outputs) return;
    const int64_t at = int64_t{row} * product.outputs + output;
    if (args.result == DeviceResult::kSiluMul)
      args.activated[at] = __bfloat16_as_ushort(__float2bfloat16(value));
    else
      product.y[at] = args.result == DeviceResult::kAdd ? product.y[at] + value : value;
  }
};

template <typename S>
__device__ __forceinline__ void run_codes(const CodeArgs& args) {
  extern __shared__ std::byte shared[];
  __shared__ uint64_t barriers[2 * (S::kStages + S::kXStages)];
  __shared__ uint32_t is_last[kGroups];
  let_next_start();
  const uint32_t skipped =
      (kTileAlignment - shared_address(shared) % kTileAlignment) % kTileAlignment;
  std::byte* const ring = shared + skipped;
  const uint32_t full = shared_address(barriers);
  const int begin = static_cast<int>(blockIdx.x) * args.per;
  const CodeWork<S> work{.args = args,
                         .ring = ring,
                         .x_ring = ring + S::kRingBytes,
                         .joined = reinterpret_cast<float*>(ring + S::kRingBytes + S::kXRingBytes),
                         .is_last = is_last,
                         .full = full,
                         .empty = full + 8 * S::kStages,
                         .x_full = full + 16 * S::kStages,
                         .x_empty = full + 16 * S::kStages + 8 * S::kXStages,
                         .begin = begin,
                         .end = min(begin + args.per, args.units)};
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < S::kStages; ++stage) {
      begin_barrier(work.full + stage * 8, 1 + 32);
      begin_barrier(work.empty + stage * 8, 4 * S::kTiles);
    }
    for (int stage = 0; stage < S::kXStages; ++stage) {
      begin_barrier(work.x_full + stage * 8, kCopiers / 32);
      begin_barrier(work.x_empty + stage * 8, 4 * S::kTiles);
    }
    publish_barriers();
  }
  __syncthreads();
  if (threadIdx.x < kConsumers)
    work.consume();
  else if (threadIdx.x < kConsumers + kCopiers)
    work.copy_x();
  else
    work.copy_weights();
}

template <typename S>
__global__ void __launch_bounds__(kCodeThreads, 1)
    codes_kernel(const __grid_constant__ CodeArgs args) {
  if constexpr (kCard.has_tiles)
    run_codes<S>(args);
  else
    __trap();  // rows_fit_codes() says no
}

// ---- Which tiles --------------------------------------------------------------------------------

struct CodeChoice {
  int tiles = 0;  // of 64 outputs
  int per = 0;
  int64_t cost = INT64_MAX;
};

int tiles_of(const DeviceLinearArgs& args, int half) {
  if (args.result == DeviceResult::kSiluMul)
    return static_cast<int>(div_ceil(args.products[0].weights.outputs, half));
  int halves = 0;
  for (int32_t p = 0; p < args.product_count; ++p)
    halves +=
        static_cast<int>(div_ceil(args.products[static_cast<size_t>(p)].weights.outputs, half));
  return static_cast<int>(div_ceil(halves, 2));
}

// Bytes that the busiest multiprocessor moves: weights, x, and the sums of blocks that share tiles.
template <typename Codes>
CodeChoice choose(const DeviceLinearArgs& args, int64_t rows, int columns) {
  constexpr int64_t kMeetingBytes = 64 * 1024;
  const int processors = processors_of_card();
  const auto steps = static_cast<int>(args.products[0].weights.inputs / Codes::kInputs);
  CodeChoice best;
  for (const int tiles : {4, 2}) {
    const int count = tiles_of(args, tiles * 32);
    const int64_t unit = int64_t{tiles} * 64 * (kCodeRowBytes + 16) + rows * Codes::kInputs * 2;
    const int64_t part = int64_t{tiles} * 64 * columns * int64_t{sizeof(float)};
    const auto consider = [&](int per, int parts) {
      const int64_t joins = parts > 1 ? (parts + 1) * part + kMeetingBytes : 0;
      const int64_t cost = per * unit + joins;
      if (cost < best.cost) best = {tiles, per, cost};
    };
    consider(steps * static_cast<int>(div_ceil(count, processors)), 1);
    for (int parts = 2; parts <= steps && parts * count <= processors; ++parts)
      consider(static_cast<int>(div_ceil(steps, parts)), parts);
  }
  return best;
}

template <typename Codes, int kColumns, int kTiles>
void launch_shape(const DeviceLinearArgs& args, CodeArgs codes, cudaStream_t stream) {
  using S = CodeShape<Codes, kColumns, kTiles>;
  int32_t halves = 0;
  for (int p = 0; p < args.product_count; ++p) {
    const DeviceProduct& product = args.products[static_cast<size_t>(p)];
    const PackedWeights& w = product.weights;
    codes.codes[p] = byte_map(w.data, w.outputs, w.inputs / Codes::kInputs * kCodeRowBytes,
                              S::kHalf, kCodeRowBytes);
    codes.products[p] = {w.data + device_scales_at(w.type, w.outputs, w.inputs), product.y,
                         static_cast<int32_t>(w.outputs), halves};
    halves += static_cast<int32_t>(div_ceil(w.outputs, S::kHalf));
  }
  codes.steps = codes.inputs / Codes::kInputs;
  codes.units = tiles_of(args, S::kHalf) * codes.steps;
  const auto kernel = codes_kernel<S>;
  allow_shared(kernel, S::kSharedBytes);
  launch("rows_by_codes", kernel,
         {dim3(static_cast<unsigned>(div_ceil(codes.units, codes.per))), kCodeThreads,
          S::kSharedBytes, stream},
         codes);
}

template <typename Codes, int kColumns>
void launch_columns(const DeviceLinearArgs& args, CodeTiles tiles, CodeArgs codes,
                    cudaStream_t stream) {
  const CodeChoice choice = tiles == CodeTiles::kOfMostRows
                                ? choose<Codes>(args, kRowsByCodesMax, kRowsByCodesMax)
                                : choose<Codes>(args, args.rows, kColumns);
  codes.per = choice.per;
  if (choice.tiles == 4)
    launch_shape<Codes, kColumns, 4>(args, codes, stream);
  else
    launch_shape<Codes, kColumns, 2>(args, codes, stream);
}

template <typename Codes>
void launch_codes(const DeviceLinearArgs& args, CodeTiles tiles, const CodeArgs& codes,
                  cudaStream_t stream) {
  if (args.rows <= 16)
    launch_columns<Codes, 16>(args, tiles, codes, stream);
  else if (args.rows <= 32)
    launch_columns<Codes, 32>(args, tiles, codes, stream);
  else
    launch_columns<Codes, 64>(args, tiles, codes, stream);
}

}  // namespace

void rows_by_codes(const DeviceLinearArgs& args, const uint16_t* x, CodeTiles tiles,
                   const CodeScratch& scratch, cudaStream_t stream) {
  const CodeArgs codes{.product_count = args.product_count,
                       .rows = static_cast<int32_t>(args.rows),
                       .inputs = static_cast<int32_t>(args.products[0].weights.inputs),
                       .result = args.result,
                       .x = x,
                       .activated = args.activated,
                       .scratch = scratch};
  switch (args.products[0].weights.type) {
    case core::DType::kQ8_0:
      return launch_codes<Q8Codes>(args, tiles, codes, stream);
    case core::DType::kQ4_0:
      return launch_codes<Q4Codes<false>>(args, tiles, codes, stream);
    case core::DType::kF8_B128:
      return launch_codes<F8Codes>(args, tiles, codes, stream);
    default:
      return launch_codes<Q4Codes<true>>(args, tiles, codes, stream);
  }
}

}  // namespace sluice::kernels::cuda
