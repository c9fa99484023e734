// Linear layers of int8 codes and many rows on the tile unit: the sums of generic/linear.inc in its
// order, so the same bits; only the integer dots come from tiles.
//
// Arithmetic: 16 rows × 16 outputs × one block of 32 is one TDPBSSD, 16 cycles of the tile unit,
// where the vector unit needs 128 VPDPBUSD. Scales then bound it: per row a conversion, a product
// and a fused multiply-add (two with minima), 24 to 32 cycles on two ports, beside 16 of stores.
// A run of kRunBlocks blocks is multiplied while the sums of the run before it are made.
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/int8_layout.h"
#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/avx512/vector.h"
// After the vector that they are written in.
#include "kernels/cpu/generic/codes.inc"
#include "kernels/cpu/generic/finish.inc"
#include "kernels/cpu/generic/visit_format.inc"

namespace sluice::kernels::amx {
namespace {

constexpr int64_t kRunBlocks = 4;
constexpr int64_t kChunkBlocks = 24;
constexpr int kStripPanels = 2;
constexpr int64_t kStripOutputs = kStripPanels * kPanel;
constexpr int64_t kGroupsAtOnce = 15;                  // of 16 rows, whose sums wait
constexpr int64_t kActivationCacheBytes = 1200 << 10;  // of their activations
constexpr int64_t kWeightTileBytes = 8 * kRowBytes;    // 32 values × 16 outputs

// Two panels × a chunk of blocks, ready for use: signed codes, 8 rows of 4 values × 16 outputs.
struct Strip {
  alignas(64) std::byte tiles[kStripPanels][kChunkBlocks][kWeightTileBytes];
  BlockScales scales[kStripPanels][kChunkBlocks];
};

// Blocks [begin, begin + count) of the panels from `first_output` on; a second panel beyond the
// last one repeats it, and finish() drops its sums.
template <PackedFormat kFormat>
void unpack_strip(const PackedWeights& weights, int64_t first_output, int64_t begin, int64_t count,
                  Strip& strip) {
  using C = Codes<kFormat>;
  const int64_t last_panel = (weights.outputs - 1) / kPanel;
  for (int p = 0; p < kStripPanels; ++p) {
    const int64_t panel =
        first_output / kPanel + p < last_panel ? first_output / kPanel + p : last_panel;
    const uint8_t* groups = reinterpret_cast<const uint8_t*>(weights.data) +
                            panel * kFormat.panel_bytes(weights.inputs);
    for (int64_t b = 0; b < count; ++b) {
      const uint8_t* group = groups + (begin + b) / kFormat.group() * kFormat.group_bytes();
      const int64_t i = (begin + b) % kFormat.group();
      if (i == 0) prefetch_ahead(group, kFormat.group_bytes());
      const BlockCodes codes = C::unpack(group, i, 0);
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j)
        Vector::store_ints(strip.tiles[p][b] + j * kRowBytes,
                           C::kSymmetric ? Vector::flip_sign_bits(codes.words[j]) : codes.words[j]);
      strip.scales[p][b] = C::scales(group, i, 0);
    }
  }
}

// A group of rows of the activations, from one block on (TileCodes).
struct GroupRows {
  const std::byte* codes;
  const float* scales;
  const float* sums;
  int64_t first;  // its first row
  int64_t rows;   // at most 16
};

// Products of up to four blocks from `b` on, dots (16 × 16) side by side.
template <int kTurn>
inline void multiply_block(const GroupRows& x, const std::byte* weights, int64_t b) {
  const std::byte* codes = x.codes + (b + kTurn) * kTileRows * kBlock;
  const std::byte* w = weights + (b + kTurn) * kWeightTileBytes;
  if constexpr (kTurn % 2 == 0) {
    _tile_loadd(4, codes, kBlock);
    _tile_loadd(6, w, kRowBytes);
  } else {
    _tile_loadd(5, codes, kBlock);
    _tile_loadd(7, w, kRowBytes);
  }
  if constexpr (kTurn == 0) {
    _tile_zero(0);
    _tile_dpbssd(0, 4, 6);
  } else if constexpr (kTurn == 1) {
    _tile_zero(1);
    _tile_dpbssd(1, 5, 7);
  } else if constexpr (kTurn == 2) {
    _tile_zero(2);
    _tile_dpbssd(2, 4, 6);
  } else {
    _tile_zero(3);
    _tile_dpbssd(3, 5, 7);
  }
}

using Dots = int32_t[kTileRows * kPanel];

inline void multiply_run(const GroupRows& x, const std::byte* weights, int64_t b, int64_t count,
                         Dots* dots) {
  multiply_block<0>(x, weights, b);
  if (count > 1) multiply_block<1>(x, weights, b);
  if (count > 2) multiply_block<2>(x, weights, b);
  _tile_stored(0, dots[0], kRowBytes);
  if (count > 3) multiply_block<3>(x, weights, b);
  if (count > 1) _tile_stored(1, dots[1], kRowBytes);
  if (count > 2) _tile_stored(2, dots[2], kRowBytes);
  if (count > 3) _tile_stored(3, dots[3], kRowBytes);
}

// sums (rows × 16 outputs) += the dots of block b, scaled. kRows: 16, or 0 for x.rows.
template <typename C, int kRows>
inline void add_block(const GroupRows& x, const BlockScales& weights, int64_t b, const Dots& dots,
                      Vector::Floats* sums) {
  using V = Vector;
  const float* scales = x.scales + b * kTileRows;
  const float* x_sums = x.sums + b * kTileRows;
  const auto add = [&](int64_t r) {
    const V::Floats dot = V::floats(V::load_ints(dots + r * kPanel));
    sums[r] = V::fma(dot, V::mul(weights.scale, V::set(scales[r])), sums[r]);
    if constexpr (!C::kSymmetric) sums[r] = V::fma(weights.minimum, V::set(x_sums[r]), sums[r]);
  };
  if constexpr (kRows == 0) {
    for (int64_t r = 0; r < x.rows; ++r) add(r);
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) add(r);
  }
}

// A chunk of blocks: where it begins, and where sums come from and go to.
struct Chunk {
  int64_t begin;
  int64_t blocks;
  bool is_first;  // sums start at zero
  bool is_last;   // sums go to y
};

// A group of rows × one panel of a strip × its blocks. Sums wait at `sums_at` between chunks.
template <typename C, int kRows>
inline void group_panel(const LinearArgs& args, const GroupRows& x, const Strip& strip, int panel,
                        int64_t output, const Chunk& chunk, Vector::Floats* sums_at) {
  alignas(64) Dots dots[2][kRunBlocks];
  Vector::Floats sums[kTileRows];
  const int64_t blocks = chunk.blocks;
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) sums[r] = chunk.is_first ? Vector::zero() : sums_at[r];
  const auto add_run = [&](int64_t from, int place) {
    const int64_t end = from + kRunBlocks < blocks ? from + kRunBlocks : blocks;
    for (int64_t b = from; b < end; ++b)
      add_block<C, kRows>(x, strip.scales[panel][b], b, dots[place][b - from], sums);
  };
  int place = 0;
  for (int64_t b = 0; b < blocks; b += kRunBlocks, place = 1 - place) {
    const int64_t count = blocks - b < kRunBlocks ? blocks - b : kRunBlocks;
    multiply_run(x, strip.tiles[panel][0], b, count, dots[place]);
    memory_fence();
    if (b > 0) add_run(b - kRunBlocks, 1 - place);
  }
  add_run((blocks - 1) / kRunBlocks * kRunBlocks, 1 - place);
  if (chunk.is_last) {
    for (int64_t r = 0; r < x.rows; ++r)
      finish(args, x.first + r, output + panel * kPanel, sums[r]);
    return;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) sums_at[r] = sums[r];
}

struct GroupSums {
  Vector::Floats of_panel[kStripPanels][kTileRows];
};

template <PackedFormat kFormat>
void tiles(const LinearArgs& args, Share outputs) {
  using C = Codes<kFormat>;
  const TileCodes layout{args.weights.inputs, args.rows};
  const int64_t blocks = layout.blocks();
  const int64_t chunks = (blocks + kChunkBlocks - 1) / kChunkBlocks;
  const int64_t cached = kActivationCacheBytes / layout.group_bytes();
  const int64_t at_once = cached < 1 ? 1 : cached < kGroupsAtOnce ? cached : kGroupsAtOnce;
  const int64_t step = at_once * kTileRows;
  Strip strip;
  GroupSums sums[kGroupsAtOnce];
  for (int64_t first = 0; first < args.rows; first += step) {
    const int64_t rows = args.rows - first < step ? args.rows - first : step;
    for (int64_t output = outputs.begin; output < outputs.end; output += kStripOutputs) {
      for (int64_t c = 0; c < chunks; ++c) {
        const int64_t begin = blocks * c / chunks, end = blocks * (c + 1) / chunks;
        const Chunk chunk{begin, end - begin, c == 0, c + 1 == chunks};
        unpack_strip<kFormat>(args.weights, output, begin, end - begin, strip);
        memory_fence();
        for (int64_t r = 0; r < rows; r += kTileRows) {
          const std::byte* group = args.x_packed + (first + r) / kTileRows * layout.group_bytes();
          const auto* scales = reinterpret_cast<const float*>(group + layout.scales_at());
          const auto* x_sums = reinterpret_cast<const float*>(group + layout.sums_at());
          const GroupRows x{.codes = group + begin * layout.block_bytes(),
                            .scales = scales + begin * kTileRows,
                            .sums = x_sums + begin * kTileRows,
                            .first = first + r,
                            .rows = rows - r < kTileRows ? rows - r : kTileRows};
          for (int p = 0; p < kStripPanels; ++p) {
            Vector::Floats* to = sums[r / kTileRows].of_panel[p];
            if (x.rows == kTileRows)
              group_panel<C, kTileRows>(args, x, strip, p, output, chunk, to);
            else
              group_panel<C, 0>(args, x, strip, p, output, chunk, to);
          }
        }
      }
    }
  }
}

}  // namespace

void linear_int8(const LinearArgs& args, int thread, int threads) {
  static constexpr TileConfig kConfig(kTileRows, 1);
  _tile_loadconfig(&kConfig);
  const Share outputs = share_of(args.weights.outputs, kStripOutputs, thread, threads);
  visit_format(args.weights.type, [&]<PackedFormat kFormat>() { tiles<kFormat>(args, outputs); });
  _tile_release();
}

}  // namespace sluice::kernels::amx
