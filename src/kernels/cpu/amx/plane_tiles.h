// Many rows × weights in planes on the tile unit. Internal linkage.
//
// Both sides are base · high + low, int8 digits; of the four products low · low is left out, the
// others are exact in int32, and the mixed ones share a sum.
// Arithmetic: 16 rows × 16 outputs × 64 values are three TDPBSSD of 16 cycles. Two panels of
// outputs share a group's tiles (or two groups a panel's): six products, six tile loads, four tiles
// of sums. Weights are unpacked to planes. One or two groups of rows: a pair of blocks ahead of the
// products, sums stay in tiles. More: into a strip that stays in L1, shared by the groups;
// activations pass by it from L2, by loads that leave no trace in L1.
//
// `Weights` says how:
//   kBase        of both sides' digits
//   kPairBytes   of a pair of blocks of a panel
//   panel_bytes(inputs), which begin with kHeaderBytes of units, f32 (16)
//   unpack(pair, half, to): a block's planes, high at `to`, low at `to` + kTileBytes, each 8 rows
//                of 4 values × 16 outputs
#pragma once

#include "kernels/cpu/amx/planes_layout.h"
#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/avx512/vector.h"
// After the vector that they are written in.
#include "kernels/cpu/generic/finish.inc"
#include "kernels/cpu/generic/silu.inc"

namespace sluice::kernels::amx {
namespace {

constexpr int kStripPanels = 2;
constexpr int64_t kStripPairs = 9;     // of blocks, unpacked at once: 36 KB
constexpr int64_t kStretchPairs = 27;  // whose activations stay in L2
constexpr int64_t kGroupsAtOnce = 16;  // of 16 rows
constexpr int64_t kStripsAtOnce = 8;   // whose sums wait while the inputs have several stretches

// Both planes of a pair of blocks of a panel.
using PairTiles = std::byte[2][kTileBytes];

template <typename Weights>
inline void unpack_pair(const uint8_t* pair, PairTiles& to) {
  Weights::unpack(pair, 0, to[0]);
  Weights::unpack(pair, 1, to[0] + kTileBytes / 2);
}

// int32 sums of 16 rows × 16 outputs, high · high and mixed: of two panels or of two groups.
struct GroupSums {
  alignas(64) int32_t of[2][2][kTileRows * kPanel];
};

template <int32_t kBase>
inline __m512 sum_of(__m512i high, __m512i mixed) {
  const __m512 small = _mm512_mul_ps(_mm512_cvtepi32_ps(mixed), _mm512_set1_ps(kBase));
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), _mm512_set1_ps(kBase * kBase), small);
}

// Complete sums of a group of rows and a panel, on their way to y.
struct Finished {
  const int32_t (*sums)[kTileRows * kPanel] = nullptr;  // high and mixed
  const float* row_units = nullptr;                     // of the group's rows
  const float* units = nullptr;                         // of the outputs
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t output = 0;
};

// What is left to do of two of them: rows [next, kTileRows).
struct Finish {
  Finished of[2];
  int64_t next = kTileRows;
};

template <typename Weights>
inline __m512 value_of(const Finished& done, int64_t r) {
  const __m512 sum = sum_of<Weights::kBase>(_mm512_load_si512(done.sums[0] + r * kPanel),
                                            _mm512_load_si512(done.sums[1] + r * kPanel));
  const __m512 unit = _mm512_mul_ps(_mm512_loadu_ps(done.units),  //
                                    _mm512_set1_ps(done.row_units[r]));
  return _mm512_mul_ps(sum, unit);
}

// A linear layer with its layouts at hand. A strip is two panels that follow each other.
template <typename Weights>
struct PlaneLinear {
  using Format = Weights;
  static constexpr int64_t kStripOutputs = kStripPanels * kPanel;
  const LinearArgs& args;
  TileRows layout{args.weights.inputs, args.rows};
  int64_t pairs = pairs_of(args.weights.inputs);
  int64_t panel_bytes = Weights::panel_bytes(args.weights.inputs);
  int64_t panels = (args.weights.outputs + kPanel - 1) / kPanel;

  const std::byte* group(int64_t g) const { return args.x_packed + g * layout.group_bytes(); }
  // A panel beyond the last is the last; finish() drops its results.
  const uint8_t* panel(int64_t p) const {
    return reinterpret_cast<const uint8_t*>(args.weights.data) +
           (p < panels ? p : panels - 1) * panel_bytes;
  }
  const uint8_t* pair(int64_t p, int64_t i) const {
    return panel(p) + kHeaderBytes + i * Weights::kPairBytes;
  }
  Finished finished(const int32_t (*sums)[kTileRows * kPanel], int64_t g, int64_t p) const {
    const int64_t left = args.rows - g * kTileRows;
    return {.sums = sums,
            .row_units = reinterpret_cast<const float*>(group(g) + layout.units_at()),
            .units = reinterpret_cast<const float*>(panel(p)),
            .first_row = g * kTileRows,
            .rows = left < kTileRows ? left : kTileRows,
            .output = p * kPanel};
  }

  const uint8_t* strip_pair(int64_t first_panel, int p, int64_t i) const {
    return pair(first_panel + p, i);
  }
  Finished strip_finished(const int32_t (*sums)[kTileRows * kPanel], int64_t g, int64_t first_panel,
                          int p) const {
    return finished(sums, g, first_panel + p);
  }
  void finish_row(Finish& rest) const {
    if (rest.next == kTileRows) return;
    const int64_t r = rest.next++;
    for (const Finished& done : rest.of)
      if (r < done.rows) finish(args, done.first_row + r, done.output, value_of<Weights>(done, r));
  }
};

// y = silu(gate) · up: a strip is a panel of each; `args` are the gate's.
template <typename Weights>
struct GatedPlanes : PlaneLinear<Weights> {
  static constexpr int64_t kStripOutputs = kPanel;
  PlaneLinear<Weights> up;

  GatedPlanes(const LinearArgs& gate_args, const LinearArgs& up_args)
      : PlaneLinear<Weights>{gate_args}, up{up_args} {}
  const uint8_t* strip_pair(int64_t panel, int p, int64_t i) const {
    return p == 0 ? this->pair(panel, i) : up.pair(panel, i);
  }
  Finished strip_finished(const int32_t (*sums)[kTileRows * kPanel], int64_t g, int64_t panel,
                          int p) const {
    return p == 0 ? this->finished(sums, g, panel) : up.finished(sums, g, panel);
  }
  void finish_row(Finish& rest) const {
    if (rest.next == kTileRows) return;
    const int64_t r = rest.next++;
    const Finished& gate = rest.of[0];
    if (r >= gate.rows) return;
    finish(this->args, gate.first_row + r, gate.output,
           silu_mul_of(value_of<Weights>(gate, r), value_of<Weights>(rest.of[1], r)));
  }
};

template <typename Linear>
inline void finish_all(const Linear& linear, Finish& rest) {
  while (rest.next < kTileRows) linear.finish_row(rest);
}

inline void zero_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}
inline void load_sums(const GroupSums& sums) {
  _tile_loadd(0, sums.of[0][0], kRowBytes);
  _tile_loadd(1, sums.of[0][1], kRowBytes);
  _tile_loadd(2, sums.of[1][0], kRowBytes);
  _tile_loadd(3, sums.of[1][1], kRowBytes);
}
inline void store_sums(GroupSums& sums) {
  _tile_stored(0, sums.of[0][0], kRowBytes);
  _tile_stored(1, sums.of[0][1], kRowBytes);
  _tile_stored(2, sums.of[1][0], kRowBytes);
  _tile_stored(3, sums.of[1][1], kRowBytes);
}

// A pair of a group's blocks × two panels. beside(): vector work for which the core has room beside
// the tiles.
template <typename Beside>
inline void multiply_panels(const std::byte* x, const PairTiles* weights, const Beside& beside) {
  _tile_stream_loadd(4, x, kRowBytes);
  _tile_loadd(6, weights[0][0], kRowBytes);
  _tile_dpbssd(0, 4, 6);
  _tile_loadd(7, weights[0][1], kRowBytes);
  _tile_dpbssd(1, 4, 7);
  _tile_stream_loadd(5, x + kTileBytes, kRowBytes);
  _tile_dpbssd(1, 5, 6);
  beside();
  _tile_loadd(6, weights[1][0], kRowBytes);
  _tile_dpbssd(2, 4, 6);
  _tile_loadd(7, weights[1][1], kRowBytes);
  _tile_dpbssd(3, 4, 7);
  _tile_dpbssd(3, 5, 6);
}

// The same of two groups × one panel.
template <typename Beside>
inline void multiply_groups(const std::byte* x, const std::byte* next_x, const PairTiles& weights,
                            const Beside& beside) {
  _tile_stream_loadd(4, x, kRowBytes);
  _tile_loadd(6, weights[0], kRowBytes);
  _tile_dpbssd(0, 4, 6);
  _tile_loadd(7, weights[1], kRowBytes);
  _tile_dpbssd(1, 4, 7);
  _tile_stream_loadd(5, x + kTileBytes, kRowBytes);
  _tile_dpbssd(1, 5, 6);
  beside();
  _tile_stream_loadd(4, next_x, kRowBytes);
  _tile_dpbssd(2, 4, 6);
  _tile_stream_loadd(5, next_x + kTileBytes, kRowBytes);
  _tile_dpbssd(3, 4, 7);
  _tile_dpbssd(3, 5, 6);
}

// One group × the panels `panel` and `panel` + `step` (kPanels 2), or two groups × one panel; the
// sums of the ones before go to y meanwhile.
template <typename Weights, int kPanels>
void stream_panels(const PlaneLinear<Weights>& linear, int64_t panel, int64_t step, GroupSums& sums,
                   Finish& rest) {
  alignas(64) PairTiles tiles[2][kPanels];
  const auto unpack = [&](int64_t pair) {
    for (int p = 0; p < kPanels; ++p)
      unpack_pair<Weights>(linear.pair(panel + p * step, pair), tiles[pair % 2][p]);
  };
  unpack(0);
  const std::byte* x = linear.group(0);
  zero_sums();
  for (int64_t pair = 0; pair < linear.pairs; ++pair, x += TileRows::kPairBytes) {
    const auto beside = [&] {
      if (pair + 1 < linear.pairs) unpack(pair + 1);
      linear.finish_row(rest);
      linear.finish_row(rest);
    };
    memory_fence();
    if constexpr (kPanels == 2)
      multiply_panels(x, tiles[pair % 2], beside);
    else
      multiply_groups(x, x + linear.layout.group_bytes(), tiles[pair % 2][0], beside);
  }
  finish_all(linear, rest);
  store_sums(sums);
  memory_fence();
  for (int i = 0; i < 2; ++i)
    rest.of[i] = linear.finished(sums.of[i], kPanels == 1 ? i : 0,  //
                                 panel + (kPanels == 2 ? i * step : 0));
  rest.next = 0;
}

// One or two groups of rows × the panels of a share. Two panels at once are two streams of weights,
// one from the middle of the share, as in linear_planes.cpp.
template <typename Weights>
void stream_rows(const PlaneLinear<Weights>& linear, Share outputs) {
  GroupSums sums[2];
  Finish rest;
  const int64_t begin = outputs.begin / kPanel, end = (outputs.end + kPanel - 1) / kPanel;
  const bool is_lone = linear.layout.groups() == 1;
  const auto stream = is_lone ? stream_panels<Weights, 2> : stream_panels<Weights, 1>;
  const int64_t half = is_lone ? (end - begin + 1) / 2 : end - begin;
  const Share steps = steps_of(linear.args.portion, half);
  for (int64_t i = steps.begin; i < steps.end; ++i) {
    // Of an odd number of panels the last one's partner lies beyond all.
    const int64_t step = begin + i + half < end ? half : linear.panels;
    stream(linear, begin + i, step, sums[i % 2], rest);
  }
  finish_all(linear, rest);
}

// The strip of panels from `panel` on × groups of rows × a stretch of the inputs, whose last part
// goes to y. `sums` of the groups.
template <typename Linear>
void tile_strip(const Linear& linear, int64_t panel, Share groups, Share stretch, GroupSums* sums) {
  alignas(64) PairTiles strip[kStripPairs][kStripPanels];
  Finish rest;  // of the group before
  const int64_t length = part_of(stretch.end - stretch.begin, kStripPairs);
  for (int64_t begin = stretch.begin; begin < stretch.end; begin += length) {
    const Share part = take(begin, length, stretch.end);
    for (int p = 0; p < kStripPanels; ++p)
      for (int64_t i = 0; i < part.end - part.begin; ++i)
        unpack_pair<typename Linear::Format>(linear.strip_pair(panel, p, begin + i), strip[i][p]);
    memory_fence();
    for (int64_t g = groups.begin; g < groups.end; ++g) {
      // Those of a single part stay in two places.
      GroupSums& to = sums[linear.pairs > kStripPairs ? g - groups.begin : g % 2];
      if (part.begin == 0)
        zero_sums();
      else
        load_sums(to);
      const std::byte* x = linear.group(g) + part.begin * TileRows::kPairBytes;
      for (int64_t i = 0; i < part.end - part.begin; ++i, x += TileRows::kPairBytes)
        multiply_panels(x, strip[i], [&] {
          linear.finish_row(rest);
          linear.finish_row(rest);
        });
      store_sums(to);
      memory_fence();
      if (part.end < linear.pairs) continue;
      finish_all(linear, rest);
      for (int p = 0; p < kStripPanels; ++p)
        rest.of[p] = linear.strip_finished(to.of[p], g, panel, p);
      rest.next = 0;
    }
  }
  finish_all(linear, rest);
}

template <typename Linear>
void tile_rows(const Linear& linear, Share outputs) {
  constexpr int64_t kOutputs = Linear::kStripOutputs;
  const int64_t groups = linear.layout.groups();
  GroupSums sums[kStripsAtOnce][kGroupsAtOnce];
  const int64_t length = part_of(linear.pairs, kStretchPairs);
  for (int64_t g = 0; g < groups; g += kGroupsAtOnce) {
    const Share some_groups = take(g, kGroupsAtOnce, groups);
    for (int64_t first = outputs.begin; first < outputs.end; first += kStripsAtOnce * kOutputs) {
      const Share some = take(first, kStripsAtOnce * kOutputs, outputs.end);
      for (int64_t at = 0; at < linear.pairs; at += length)
        for (int64_t output = some.begin; output < some.end; output += kOutputs)
          tile_strip(linear, output / kPanel, some_groups, take(at, length, linear.pairs),
                     sums[linear.pairs > kStretchPairs ? (output - first) / kOutputs : 0]);
    }
  }
}

// A thread's outputs, whole strips, × all rows.
template <typename Weights>
void linear_tiles(const LinearArgs& args, int thread, int threads) {
  // One group's tiles have no more rows than it has: products are faster.
  const TileConfig config(static_cast<int>(args.rows < kTileRows ? args.rows : kTileRows), 2);
  const PlaneLinear<Weights> linear{args};
  _tile_loadconfig(&config);
  if (linear.layout.groups() <= 2)
    stream_rows(linear, share_of(args.weights.outputs, linear.kStripOutputs, thread, threads));
  else
    tile_rows(linear, share_of(args, linear.kStripOutputs, thread, threads));
  _tile_release();
}

// silu(gate) · up of more than two groups of rows.
template <typename Weights>
void gated_tiles(const GatedArgs& args, int thread, int threads) {
  const auto linear_args = [&](const PackedWeights& weights) {
    return LinearArgs{
        .weights = weights, .x_packed = args.x_packed, .rows = args.rows, .y = args.y};
  };
  const LinearArgs gate = linear_args(args.gate), up = linear_args(args.up);
  static constexpr TileConfig kConfig(kTileRows, 2);
  _tile_loadconfig(&kConfig);
  tile_rows(GatedPlanes<Weights>(gate, up), share_of(args.gate.outputs, kPanel, thread, threads));
  _tile_release();
}

}  // namespace
}  // namespace sluice::kernels::amx
