// Linear layers of e4m3 weights with a scale for 128 inputs (F8_B128) on the tile unit.
//
// Of every (row, output), over blocks of 128 inputs in their order:
//   dot = the tile unit's sum over the block, from zero, of bf16 weights (every e4m3 value is one)
//         and bf16 activations
//   sum = fma(dot, scale, sum)
// then + bias, + residual. Rows of a tile do not meet, so a row's bits do not depend on the others.
//
// Arithmetic: 64 codes become bf16 by two lookups of their low seven bits in 128 bytes (two cycles
// of the shuffle port each), a sign and two interleavings: 6 cycles, 10.7 bytes a cycle, where
// memory delivers 5 to 6. They go through a strip in L1, since tiles are loaded from memory alone;
// the strip serves all rows of the step. A block of 16 rows × 32 outputs is eight TDPBF16PS, 128
// cycles, beside 32 additions to sums; those of the block before are made meanwhile.
#include <array>

#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/f8_layout.h"
#include "kernels/cpu/amx/tile_layout.h"
#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/avx512/vector.h"
// After the vector that they are written in.
#include "kernels/cpu/generic/codes.inc"
#include "kernels/cpu/generic/finish.inc"

namespace sluice::kernels::amx {
namespace {

constexpr int kPanels = 2;  // of a strip
constexpr int64_t kStripOutputs = kPanels * kPanel;
constexpr int64_t kVectorBytes = 64;    // codes that are unpacked at once
constexpr int64_t kPartBlocks = 2;      // of a strip: 16 KB
constexpr int64_t kStretchBlocks = 12;  // whose activations stay in L2
constexpr int64_t kGroupsAtOnce = 16;   // of 16 rows
constexpr int64_t kStripsAtOnce = 8;    // whose sums wait while there are stretches
constexpr int64_t kTiles = F8Weights::kTilesOfBlock;

// The bf16 of each magnitude, its low and its high byte.
struct CodeBytes {
  alignas(64) std::array<uint8_t, 128> low{}, high{};
};
constexpr CodeBytes kCodeBytes = [] {
  CodeBytes bytes;
  for (uint32_t magnitude = 0; magnitude < 128; ++magnitude) {
    uint32_t bits = (magnitude << 4) + (120u << 7);
    if (magnitude == 0x7f) bits = 0x7fc0;
    if (magnitude < 8) {  // subnormal: magnitude · 2^-9
      uint32_t exponent = 118, mantissa = magnitude;
      for (; mantissa > 1; mantissa >>= 1) ++exponent;
      const uint32_t fraction = magnitude << (7 - (exponent - 118)) & 0x7f;
      bits = magnitude == 0 ? 0 : exponent << 7 | fraction;
    }
    bytes.low[magnitude] = static_cast<uint8_t>(bits);
    bytes.high[magnitude] = static_cast<uint8_t>(bits >> 8);
  }
  return bytes;
}();

struct CodeTables {
  __m512i low[2], high[2];
};
inline CodeTables load_tables() {
  const uint8_t *low = kCodeBytes.low.data(), *high = kCodeBytes.high.data();
  return {{Vector::load_ints(low), Vector::load_ints(low + 64)},
          {Vector::load_ints(high), Vector::load_ints(high + 64)}};
}

// 64 codes to two rows of a tile.
inline void unpack_codes(const uint8_t* from, const CodeTables& tables, std::byte* to) {
  const __m512i codes = Vector::load_ints(from);
  const __m512i low = _mm512_permutex2var_epi8(tables.low[0], codes, tables.low[1]);
  const __m512i magnitude = _mm512_permutex2var_epi8(tables.high[0], codes, tables.high[1]);
  // magnitude | (codes & sign)
  const __m512i high = _mm512_ternarylogic_epi32(magnitude, codes, _mm512_set1_epi8(-128), 0xf8);
  Vector::store_ints(to, _mm512_unpacklo_epi8(low, high));
  Vector::store_ints(to + kRowBytes, _mm512_unpackhi_epi8(low, high));
}

struct Strip {
  alignas(64) std::byte tiles[kPartBlocks][kPanels][kTiles][kTileBytes];
};

// Two panels; the second may be the first again, and its sums are dropped.
struct Panels {
  const uint8_t* data[kPanels];
  int64_t first_output;

  const uint8_t* block(int panel, int64_t b) const {
    return data[panel] + b * F8Weights::kBlockBytes;
  }
};
Panels panels_from(const PackedWeights& weights, int64_t output) {
  const int64_t bytes = F8Weights{weights.inputs}.panel_bytes();
  const auto* first = reinterpret_cast<const uint8_t*>(weights.data) + output / kPanel * bytes;
  return {{first, output + kPanel < weights.outputs ? first + bytes : first}, output};
}

void unpack_part(const Panels& panels, Share part, Strip& strip) {
  const CodeTables tables = load_tables();
  for (int64_t b = part.begin; b < part.end; ++b)
    for (int p = 0; p < kPanels; ++p) {
      const uint8_t* from = panels.block(p, b);
      std::byte* to = strip.tiles[b - part.begin][p][0];
#pragma GCC unroll 4
      for (int64_t at = 0; at < F8Weights::kScalesAt; at += kVectorBytes, to += 2 * kRowBytes) {
        // One line for each that is read: the queue to memory never runs empty.
        prefetch_ahead(from + at, kVectorBytes);
        unpack_codes(from + at, tables, to);
      }
    }
}

// (rows × 16 outputs) of two panels.
struct GroupSums {
  alignas(64) float of[kPanels][kTileRows * kPanel];
};

// A group of rows × a block of two panels, `x` its activations of the block's first tile.
inline void multiply_block(const std::byte* x, int64_t x_tile_bytes,
                           const std::byte (*tiles)[kTiles][kTileBytes], GroupSums& dots) {
  _tile_zero(0);
  _tile_zero(1);
#pragma GCC unroll 4
  for (int64_t t = 0; t < kTiles; ++t) {
    _tile_stream_loadd(4, x + t * x_tile_bytes, kRowBytes);
    _tile_loadd(6, tiles[0][t], kRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, tiles[1][t], kRowBytes);
    _tile_dpbf16ps(1, 4, 7);
  }
  _tile_stored(0, dots.of[0], kRowBytes);
  _tile_stored(1, dots.of[1], kRowBytes);
}

inline void add_block(const Panels& panels, int64_t b, int64_t rows, const GroupSums& dots,
                      GroupSums& sums) {
  for (int p = 0; p < kPanels; ++p) {
    const __m512 scale = _mm512_loadu_ps(panels.block(p, b) + F8Weights::kScalesAt);
    for (int64_t at = 0; at < rows * kPanel; at += kPanel) {
      float* sum = sums.of[p] + at;
      const __m512 before = b == 0 ? _mm512_setzero_ps() : _mm512_load_ps(sum);
      _mm512_store_ps(sum, _mm512_fmadd_ps(_mm512_load_ps(dots.of[p] + at), scale, before));
    }
  }
}

// Groups of rows × two panels × a stretch of the blocks; with the last block the sums go to y.
void stretch_of_panels(const LinearArgs& args, Share groups, const Panels& panels, Share stretch,
                       GroupSums* sums) {
  const TileActivations layout{args.weights.inputs, args.rows};
  const int64_t slots = layout.slots();
  const auto rows_of = [&](int64_t g) {
    return args.rows - g * slots < slots ? args.rows - g * slots : slots;
  };
  Strip strip;
  GroupSums dots[2];
  // One group of rows is soon done with a block, while memory waits.
  const int64_t length = groups.end - groups.begin == 1 ? 1 : kPartBlocks;
  for (int64_t begin = stretch.begin; begin < stretch.end; begin += length) {
    const Share part = take(begin, length, stretch.end);
    unpack_part(panels, part, strip);
    memory_fence();
    for (int64_t g = groups.begin; g < groups.end; ++g) {
      const std::byte* x = args.x_packed + g * layout.group_bytes();
      GroupSums& to = sums[g - groups.begin];
      for (int64_t b = part.begin; b < part.end; ++b) {
        multiply_block(x + b * kTiles * layout.block_bytes(), layout.block_bytes(),
                       strip.tiles[b - part.begin], dots[b % 2]);
        memory_fence();
        if (b > part.begin) add_block(panels, b - 1, rows_of(g), dots[(b - 1) % 2], to);
      }
      add_block(panels, part.end - 1, rows_of(g), dots[(part.end - 1) % 2], to);
    }
  }
  if (stretch.end < F8Weights{args.weights.inputs}.blocks()) return;
  for (int64_t g = groups.begin; g < groups.end; ++g)
    for (int64_t r = 0; r < rows_of(g); ++r)
      for (int p = 0; p < kPanels; ++p)
        finish(args, g * slots + r, panels.first_output + p * kPanel,
               _mm512_load_ps(sums[g - groups.begin].of[p] + r * kPanel));
}

void configure(int64_t slots) {
  static constexpr TileConfig kConfigs[] = {{1, 2}, {2, 2}, {4, 2}, {8, 2}, {16, 2}};
  _tile_loadconfig(&kConfigs[__builtin_ctzll(static_cast<uint64_t>(slots))]);
}

}  // namespace

void linear_f8(const LinearArgs& args, int thread, int threads) {
  if (args.rows == 0) return;
  const TileActivations layout{args.weights.inputs, args.rows};
  const Share outputs = share_of(args, kStripOutputs, thread, threads);
  const int64_t blocks = F8Weights{args.weights.inputs}.blocks();
  // A stretch is for the activations of many groups: few rows take all blocks at once.
  const int64_t length = layout.groups() <= 2 ? blocks : part_of(blocks, kStretchBlocks);
  GroupSums sums[kStripsAtOnce][kGroupsAtOnce];
  configure(layout.slots());
  for (int64_t g = 0; g < layout.groups(); g += kGroupsAtOnce) {
    const Share groups = take(g, kGroupsAtOnce, layout.groups());
    for (int64_t first = outputs.begin; first < outputs.end;
         first += kStripsAtOnce * kStripOutputs) {
      const Share some = take(first, kStripsAtOnce * kStripOutputs, outputs.end);
      for (int64_t at = 0; at < blocks; at += length)
        for (int64_t output = some.begin; output < some.end; output += kStripOutputs)
          stretch_of_panels(args, groups, panels_from(args.weights, output),
                            take(at, length, blocks),
                            sums[length < blocks ? (output - first) / kStripOutputs : 0]);
    }
  }
  _tile_release();
}

}  // namespace sluice::kernels::amx
