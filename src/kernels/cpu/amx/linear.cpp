// Linear layers on the tile unit.
//
// Of every (row, output) of quantised weights, over blocks b of 32 values in their order, in f32:
//   dot = Σ code · x                            one TDPBF16PS from zero: codes are exact in bf16
//   sum = fma(dot, weight scale, sum)
//   sum = fma(minimum, Σ x, sum)                where the format has minima
// of bf16 weights the tile's own sum runs through all blocks; then + bias, + residual. Rows of a
// tile do not meet and every path keeps this order, so a row's bits do not depend on the others.
//
// Arithmetic: 16 rows × 16 outputs × 32 values are 16 cycles of the tile unit; with scales, 16
// loads, fused multiply-adds and stores of sums beside them, which the core overlaps in part.
// In decode a block of 16 outputs is unpacked (32 shifts and lookups) for a single row.
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/unpack.h"
#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/vector.h"
// After the vector that they are written in.
#include "kernels/cpu/generic/finish.inc"
#include "kernels/cpu/generic/visit_format.inc"

namespace sluice::kernels::amx {
namespace {

constexpr int64_t kRunBlocks = 4;  // blocks whose products are under way together

// Products of up to four blocks: activations (slots × 32) by weight tiles, to dots (slots × 16).
struct Run {
  const std::byte* activations;
  int64_t activation_stride;  // bytes from block to block
  const std::byte* weights;   // tiles, side by side
  float* dots;
  int64_t dot_stride;  // floats from block to block
  int64_t blocks;
};

template <int kTurn>
inline void multiply_block(const Run& run) {
  const std::byte* x = run.activations + kTurn * run.activation_stride;
  const std::byte* w = run.weights + kTurn * kTileBytes;
  if constexpr (kTurn % 2 == 0) {
    _tile_loadd(4, x, kRowBytes);
    _tile_loadd(6, w, kRowBytes);
  } else {
    _tile_loadd(5, x, kRowBytes);
    _tile_loadd(7, w, kRowBytes);
  }
  if constexpr (kTurn == 0) {
    _tile_zero(0);
    _tile_dpbf16ps(0, 4, 6);
  } else if constexpr (kTurn == 1) {
    _tile_zero(1);
    _tile_dpbf16ps(1, 5, 7);
  } else if constexpr (kTurn == 2) {
    _tile_zero(2);
    _tile_dpbf16ps(2, 4, 6);
  } else {
    _tile_zero(3);
    _tile_dpbf16ps(3, 5, 7);
  }
}

inline void multiply(const Run& run) {
  multiply_block<0>(run);
  if (run.blocks > 1) multiply_block<1>(run);
  if (run.blocks > 2) multiply_block<2>(run);
  _tile_stored(0, run.dots, kRowBytes);
  if (run.blocks > 3) multiply_block<3>(run);
  if (run.blocks > 1) _tile_stored(1, run.dots + run.dot_stride, kRowBytes);
  if (run.blocks > 2) _tile_stored(2, run.dots + 2 * run.dot_stride, kRowBytes);
  if (run.blocks > 3) _tile_stored(3, run.dots + 3 * run.dot_stride, kRowBytes);
}

// sums (kSlots × 16) += dots of one block, scaled.
template <PackedFormat kFormat, int kSlots>
inline void accumulate(const float* dots, const BlockScales& scales, const float* x_sums,
                       __m512* sums) {
#pragma GCC unroll 16
  for (int r = 0; r < kSlots; ++r) {
    sums[r] = _mm512_fmadd_ps(_mm512_load_ps(dots + r * 16), scales.scale, sums[r]);
    if constexpr (kFormat.scales != Scales::kSymmetric)
      sums[r] = _mm512_fmadd_ps(scales.minimum, _mm512_set1_ps(x_sums[r]), sums[r]);
  }
}

// ---- Up to 16 rows: every panel is read once, unpacking, products and sums follow each other.

template <PackedFormat kFormat, int kSlots>
class FewRows {
 public:
  FewRows(const LinearArgs& args, Share outputs)
      : args_(args),
        layout_{args.weights.inputs, args.rows},
        blocks_(layout_.blocks()),
        runs_((blocks_ + kRunBlocks - 1) / kRunBlocks),
        panel_bytes_(kFormat.panel_bytes(args.weights.inputs)),
        first_panel_(outputs.begin / kPanel),
        steps_((outputs.end - outputs.begin + kPanel - 1) / kPanel * runs_) {}

  // Step s unpacks run s while the products of run s - 1 and the sums of run s - 2 are made.
  void compute() {
    Cursor unpacked, multiplied, added;
    for (int r = 0; r < kSlots; ++r) sums_[r] = _mm512_setzero_ps();
    for (int64_t step = 0; step < steps_ + 2; ++step) {
      if (step < steps_) unpack(unpacked);
      memory_fence();
      if (step >= 1 && step <= steps_) multiply_run(multiplied);
      memory_fence();
      if (step >= 2) add(added);
    }
  }

 private:
  // Where in the panels and their runs a stage is.
  struct Cursor {
    int64_t panel = 0;
    int64_t run = 0;
    int64_t place = 0;  // of the run in the buffers
  };

  void advance(Cursor& at) const {
    at.place = 1 - at.place;
    if (++at.run < runs_) return;
    at.run = 0;
    ++at.panel;
  }
  int64_t blocks_of(const Cursor& at) const {
    const int64_t left = blocks_ - at.run * kRunBlocks;
    return left < kRunBlocks ? left : kRunBlocks;
  }
  const uint8_t* group_of(const Cursor& at, int64_t block) const {
    return reinterpret_cast<const uint8_t*>(args_.weights.data) +
           (first_panel_ + at.panel) * panel_bytes_ +
           block / kFormat.group() * kFormat.group_bytes();
  }

  void unpack(Cursor& at) {
    const int64_t count = blocks_of(at);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t block = at.run * kRunBlocks + i;
      const uint8_t* group = group_of(at, block);
      unpack_codes<kFormat>(group + block % kFormat.group() * kFormat.block_code_bytes(),
                            tiles_[at.place][i]);
    }
    advance(at);
  }

  void multiply_run(Cursor& at) {
    multiply({.activations = args_.x_packed + at.run * kRunBlocks * kSlots * kRowBytes,
              .activation_stride = kSlots * kRowBytes,
              .weights = tiles_[at.place][0],
              .dots = dots_[at.place][0],
              .dot_stride = kSlots * kPanel,
              .blocks = blocks_of(at)});
    advance(at);
  }

  void add(Cursor& at) {
    const auto* x_sums = reinterpret_cast<const float*>(args_.x_packed + layout_.sums_at());
    const int64_t count = blocks_of(at);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t block = at.run * kRunBlocks + i;
      const BlockScales scales =
          unpack_scales<kFormat>(group_of(at, block), block % kFormat.group());
      accumulate<kFormat, kSlots>(dots_[at.place][i], scales, x_sums + block * kSlots, sums_);
    }
    if (at.run + 1 == runs_) {
      for (int r = 0; r < kSlots; ++r) {
        if (r < args_.rows) finish(args_, r, (first_panel_ + at.panel) * kPanel, sums_[r]);
        sums_[r] = _mm512_setzero_ps();
      }
    }
    advance(at);
  }

  const LinearArgs& args_;
  const TileActivations layout_;
  const int64_t blocks_, runs_, panel_bytes_, first_panel_, steps_;
  alignas(64) std::byte tiles_[2][kRunBlocks][kTileBytes];
  alignas(64) float dots_[2][kRunBlocks][kSlots * kPanel];
  __m512 sums_[kSlots];
};

// ---- More rows: strips of two panels × a chunk of blocks are unpacked to the stack (L1), groups
// of 16 rows run over them, sums of a chunk wait on the stack (L2).

constexpr int kStripPanels = 2;
constexpr int64_t kStripOutputs = kStripPanels * kPanel;
constexpr int64_t kChunkBlocks = 12;
constexpr int64_t kGroupsAtOnce = 15;
constexpr int64_t kActivationCacheBytes = 1200 << 10;

struct Strip {
  alignas(64) std::byte tiles[kStripPanels][kChunkBlocks][kTileBytes];
  BlockScales scales[kStripPanels][kChunkBlocks];
};

struct alignas(64) GroupSums {
  float of_panel[kStripPanels][kTileRows * kPanel];
};

// Blocks [begin, begin + count) of the two panels from `first_output` on; a second panel beyond the
// last one repeats it, and finish() drops its sums.
template <PackedFormat kFormat>
inline void unpack_strip(const PackedWeights& weights, int64_t first_output, int64_t begin,
                         int64_t count, Strip& strip) {
  const int64_t last_panel = (weights.outputs - 1) / kPanel;
  for (int p = 0; p < kStripPanels; ++p) {
    const int64_t panel =
        first_output / kPanel + p < last_panel ? first_output / kPanel + p : last_panel;
    const uint8_t* groups = reinterpret_cast<const uint8_t*>(weights.data) +
                            panel * kFormat.panel_bytes(weights.inputs);
    for (int64_t b = 0; b < count; ++b) {
      const uint8_t* group = groups + (begin + b) / kFormat.group() * kFormat.group_bytes();
      const int64_t i = (begin + b) % kFormat.group();
      unpack_codes<kFormat>(group + i * kFormat.block_code_bytes(), strip.tiles[p][b]);
      strip.scales[p][b] = unpack_scales<kFormat>(group, i);
    }
  }
}

// One group of rows × one panel of a strip. x, x_sums: of the chunk's first block.
template <PackedFormat kFormat>
inline void group_panel(const Strip& strip, int panel, int64_t blocks, const std::byte* x,
                        const float* x_sums, float* sums_at) {
  alignas(64) float dots[2][kRunBlocks][kTileRows * kPanel];
  __m512 sums[kTileRows];
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) sums[r] = _mm512_load_ps(sums_at + r * kPanel);
  const auto add = [&](int64_t from, int place) {
    const int64_t end = from + kRunBlocks < blocks ? from + kRunBlocks : blocks;
    for (int64_t b = from; b < end; ++b)
      accumulate<kFormat, kTileRows>(dots[place][b - from], strip.scales[panel][b],
                                     x_sums + b * kTileRows, sums);
  };
  int place = 0;
  for (int64_t b = 0; b < blocks; b += kRunBlocks, place = 1 - place) {
    multiply({.activations = x + b * kTileBytes,
              .activation_stride = kTileBytes,
              .weights = strip.tiles[panel][b],
              .dots = dots[place][0],
              .dot_stride = kTileRows * kPanel,
              .blocks = blocks - b < kRunBlocks ? blocks - b : kRunBlocks});
    memory_fence();
    if (b > 0) add(b - kRunBlocks, 1 - place);
  }
  add((blocks - 1) / kRunBlocks * kRunBlocks, 1 - place);
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) _mm512_store_ps(sums_at + r * kPanel, sums[r]);
}

template <PackedFormat kFormat>
inline void many_rows(const LinearArgs& args, Share outputs) {
  const TileActivations layout{args.weights.inputs, args.rows};
  const int64_t blocks = layout.blocks();
  const int64_t chunks = (blocks + kChunkBlocks - 1) / kChunkBlocks;
  const int64_t cached = kActivationCacheBytes / layout.group_bytes();
  const int64_t at_once = cached < 1 ? 1 : cached < kGroupsAtOnce ? cached : kGroupsAtOnce;
  Strip strip;
  GroupSums sums[kGroupsAtOnce];
  for (int64_t first = 0; first < layout.groups(); first += at_once) {
    const int64_t groups = layout.groups() - first < at_once ? layout.groups() - first : at_once;
    for (int64_t output = outputs.begin; output < outputs.end; output += kStripOutputs) {
      __builtin_memset(sums, 0, static_cast<size_t>(groups) * sizeof(GroupSums));
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const int64_t begin = blocks * chunk / chunks, end = blocks * (chunk + 1) / chunks;
        unpack_strip<kFormat>(args.weights, output, begin, end - begin, strip);
        memory_fence();
        for (int64_t g = 0; g < groups; ++g) {
          const std::byte* x = args.x_packed + (first + g) * layout.group_bytes();
          const auto* x_sums = reinterpret_cast<const float*>(x + layout.sums_at());
          for (int p = 0; p < kStripPanels; ++p)
            group_panel<kFormat>(strip, p, end - begin, x + begin * kTileBytes,
                                 x_sums + begin * kTileRows, sums[g].of_panel[p]);
        }
      }
      for (int64_t g = 0; g < groups; ++g)
        for (int64_t r = 0; r < kTileRows && (first + g) * kTileRows + r < args.rows; ++r)
          for (int p = 0; p < kStripPanels; ++p)
            finish(args, (first + g) * kTileRows + r, output + p * kPanel,
                   _mm512_load_ps(sums[g].of_panel[p] + r * kPanel));
    }
  }
}

template <PackedFormat kFormat>
inline void linear_codes(const LinearArgs& args, int thread, int threads) {
  if (args.rows > kTileRows)
    return many_rows<kFormat>(args,
                              share_of(args.weights.outputs, kStripOutputs, thread, threads));
  const Share outputs = share_of(args.weights.outputs, kPanel, thread, threads);
  switch (TileActivations{args.weights.inputs, args.rows}.slots()) {
    case 1:
      return FewRows<kFormat, 1>(args, outputs).compute();
    case 2:
      return FewRows<kFormat, 2>(args, outputs).compute();
    case 4:
      return FewRows<kFormat, 4>(args, outputs).compute();
    case 8:
      return FewRows<kFormat, 8>(args, outputs).compute();
    default:
      return FewRows<kFormat, 16>(args, outputs).compute();
  }
}

// ---- bf16 weights: two groups of rows × two panels at a time, sums stay in tiles.

// The sums of a tile to y. first: the group's first row; the tile has `slots` rows.
inline void finish_tile(const LinearArgs& args, const float* sums, int64_t first, int64_t slots,
                        int64_t panel) {
  for (int64_t r = 0; r < slots && first + r < args.rows; ++r)
    finish(args, first + r, panel * kPanel, _mm512_load_ps(sums + r * kPanel));
}

template <int kGroups>
inline void bf16_tiles(const LinearArgs& args, const TileActivations& layout, int64_t group,
                       int64_t panel, int64_t next_panel) {
  const int64_t slots = layout.slots();
  const std::byte* x = args.x_packed + group * layout.group_bytes();
  const std::byte* weights = args.weights.data + panel * bf16_panel_bytes(args.weights.inputs);
  const std::byte* next = args.weights.data + next_panel * bf16_panel_bytes(args.weights.inputs);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t b = 0; b < layout.blocks(); ++b) {
    _tile_loadd(4, x + b * slots * kRowBytes, kRowBytes);
    _tile_loadd(6, weights + b * kTileBytes, kRowBytes);
    _tile_loadd(7, next + b * kTileBytes, kRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kGroups == 2) {
      _tile_loadd(5, x + layout.group_bytes() + b * slots * kRowBytes, kRowBytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  alignas(64) float sums[4][kTileRows * kPanel];
  _tile_stored(0, sums[0], kRowBytes);
  _tile_stored(1, sums[1], kRowBytes);
  _tile_stored(2, sums[2], kRowBytes);
  _tile_stored(3, sums[3], kRowBytes);
  memory_fence();
  finish_tile(args, sums[0], group * slots, slots, panel);
  if (next_panel != panel) finish_tile(args, sums[1], group * slots, slots, next_panel);
  if constexpr (kGroups == 2) {
    finish_tile(args, sums[2], (group + 1) * slots, slots, panel);
    if (next_panel != panel) finish_tile(args, sums[3], (group + 1) * slots, slots, next_panel);
  }
}

inline void linear_bf16(const LinearArgs& args, int thread, int threads) {
  const TileActivations layout{args.weights.inputs, args.rows};
  const Share outputs = share_of(args.weights.outputs, kStripOutputs, thread, threads);
  const int64_t last_panel = (args.weights.outputs - 1) / kPanel;
  for (int64_t output = outputs.begin; output < outputs.end; output += kStripOutputs) {
    const int64_t panel = output / kPanel;
    const int64_t next = panel < last_panel ? panel + 1 : panel;
    int64_t group = 0;
    for (; group + 2 <= layout.groups(); group += 2)
      bf16_tiles<2>(args, layout, group, panel, next);
    if (group < layout.groups()) bf16_tiles<1>(args, layout, group, panel, next);
  }
}

}  // namespace

void linear(const LinearArgs& args, int thread, int threads) {
  if (args.weights.type == core::DType::kF32) return avx512::linear(args, thread, threads);
  if (args.rows == 0) return;
  configure_tiles(TileActivations{args.weights.inputs, args.rows}.slots());
  const bool has_codes = visit_format(args.weights.type, [&]<PackedFormat kFormat>() {
    linear_codes<kFormat>(args, thread, threads);
  });
  if (!has_codes) linear_bf16(args, thread, threads);
  _tile_release();
}

}  // namespace sluice::kernels::amx
