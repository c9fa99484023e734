// Linear layers of many rows on the tile unit. The strips, their order of operations and so the
// bits are those of generic/linear.inc; only the integer dots come from tiles.
//
// Arithmetic: 16 rows × 16 outputs × one block of 32 is one TDPBSUD of 16 × 16 × 32 = 8,192
// multiplications, 16 cycles of the tile unit, where the vector unit needs 128 VPDPBUSD. What then
// bounds it is the vector work per block and (row, 16 outputs): three or four operations for scales
// and sums, 32 cycles on two ports, which a core does not overlap with tiles that wait for each
// other. Hence runs of kRunBlocks blocks: first their tiles, four in turn, a tile stored two
// multiplications after its own; then the vector work on these sums from the L1 cache.
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/vector.h"
// After the vector that it is written in.
#include "kernels/cpu/generic/linear.inc"

namespace sluice::kernels::amx {
namespace {

constexpr int kTileRows = 16;
constexpr int kTurns = 4;
constexpr int kDelay = 2;  // multiplications between a tile's own and its store
constexpr int64_t kRunBlocks = 8;

// Tile registers: 0–3 sums (rows × 16 outputs); 4, 5 activations (rows × 32 bytes); 6, 7 weights
// (8 groups of four values × 16 outputs).
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, kBlock, kBlock, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 8, 8};
};

// Sums of turn kTurn = activations (16 rows side by side) · weights of one block.
template <int kTurn>
inline void multiply(const std::byte* activations, const Vector::Ints* weights) {
  constexpr int64_t kWeightStride = kStripVectors * sizeof(Vector::Ints);
  if constexpr (kTurn % 2 == 0) {
    _tile_loadd(4, activations, kBlock);
    _tile_loadd(6, weights, kWeightStride);
  } else {
    _tile_loadd(5, activations, kBlock);
    _tile_loadd(7, weights, kWeightStride);
  }
  if constexpr (kTurn == 0) {
    _tile_zero(0);
    _tile_dpbsud(0, 4, 6);
  } else if constexpr (kTurn == 1) {
    _tile_zero(1);
    _tile_dpbsud(1, 5, 7);
  } else if constexpr (kTurn == 2) {
    _tile_zero(2);
    _tile_dpbsud(2, 4, 6);
  } else {
    _tile_zero(3);
    _tile_dpbsud(3, 5, 7);
  }
}

template <int kTurn>
inline void store(int32_t* sums) {
  if constexpr (kTurn == 0) {
    _tile_stored(0, sums, 64);
  } else if constexpr (kTurn == 1) {
    _tile_stored(1, sums, 64);
  } else if constexpr (kTurn == 2) {
    _tile_stored(2, sums, 64);
  } else {
    _tile_stored(3, sums, 64);
  }
}

// One block's dots: (rows, 16 outputs).
struct alignas(64) Dots {
  int32_t sums[kTileRows * Vector::kLanes];
};

// `count` blocks, at most kRunBlocks, one vector of a strip. activations, weights: of the first.
inline void multiply_run(const std::byte* activations, int64_t block_bytes,
                         const Vector::Ints* weights, int64_t count, Dots* dots) {
  constexpr int64_t kBlockVectors = 8 * kStripVectors;
  const auto step = [&]<int kTurn>(int64_t b) {
    if (b < count) multiply<kTurn>(activations + b * block_bytes, weights + b * kBlockVectors);
    if (b >= kDelay && b - kDelay < count)
      store<(kTurn + kTurns - kDelay) % kTurns>(dots[b - kDelay].sums);
  };
  for (int64_t b = 0; b < count + kDelay; b += kTurns) {
    step.template operator()<0>(b);
    step.template operator()<1>(b + 1);
    step.template operator()<2>(b + 2);
    step.template operator()<3>(b + 3);
  }
}

// kTileRows rows × one vector of a strip.
template <typename C>
inline void tile_vector(const Strip& strip, const TileRows& x, int v,
                        Vector::Floats (*sums_at)[kStripVectors]) {
  using V = Vector;
  Dots dots[kRunBlocks];
  V::Floats sums[kTileRows];
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) sums[r] = x.is_first_chunk ? V::zero() : sums_at[r][v];
  for (int64_t run = 0; run < x.blocks; run += kRunBlocks) {
    const int64_t end = run + kRunBlocks < x.blocks ? run + kRunBlocks : x.blocks;
    multiply_run(x.codes + run * x.block_bytes, x.block_bytes, &strip.codes[run][0][v], end - run,
                 dots);
    for (int64_t b = run; b < end; ++b) {
      const V::Floats scale = strip.scales[b][v];
      const V::Floats minimum = strip.minima[b][v];
      const std::byte* scales = x.scales + b * x.block_bytes;
#pragma GCC unroll 16
      for (int r = 0; r < kTileRows; ++r) {
        V::Ints dot = V::load_ints(dots[b - run].sums + r * V::kLanes);
        if constexpr (C::kSymmetric)
          dot = V::add_ints(dot, V::load_four_bytes(scales + 2 * x.array_bytes + r * 4));
        sums[r] = V::fma(V::floats(dot), V::mul(scale, broadcast(scales + r * 4)), sums[r]);
        if constexpr (!C::kSymmetric)
          sums[r] = V::fma(minimum, broadcast(scales + x.array_bytes + r * 4), sums[r]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) sums_at[r][v] = sums[r];
}

struct AmxTiles {
  template <typename C>
  static void rows(const Strip& strip, TileRows x, int64_t rows,
                   Vector::Floats (*sums)[kStripVectors]) {
    // The strip was just written by vector stores that the tile loads' asm does not name.
    __asm__ volatile("" ::: "memory");
    for (; rows >= kTileRows; rows -= kTileRows, sums += kTileRows) {
      for (int v = 0; v < kStripVectors; ++v) tile_vector<C>(strip, x, v, sums);
      x.codes += kTileRows * kBlock;
      x.scales += kTileRows * 4;
    }
    strip_rows<C>(strip, x, rows, sums);
  }
};

}  // namespace

void linear(const LinearArgs& args, int thread, int threads) {
  if (args.rows < kTileRows) return avx512::linear(args, thread, threads);
  const TileConfig config;
  const Share outputs = share_of(args.weights.outputs, kStripOutputs, thread, threads);
  const bool is_int8 = visit_format(args.weights.type, [&]<PackedFormat kFormat>() {
    _tile_loadconfig(&config);
    strips<kFormat, AmxTiles>(args, outputs);
    _tile_release();
  });
  if (!is_int8) avx512::linear(args, thread, threads);
}

}  // namespace sluice::kernels::amx
