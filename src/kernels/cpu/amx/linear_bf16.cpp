// Linear layers of bf16 weights on the tile unit.
//
// TDPBF16PS adds to every (row, output) of a tile, over 32 values, two float sums, of the even and
// of the odd values, each in order by fused multiply-adds. The tile's own sum runs through all
// blocks in their order; then + bias, + residual. Rows of a tile do not meet, so a row's bits do
// not depend on the others.
//
// Arithmetic: two groups of 16 rows × two panels share four loads for four products of 16 cycles.
// Many rows: a part of two panels stays in L1 while the groups of rows pass by it from L2, by loads
// that leave no trace in L1; sums wait between parts. Few rows: the weights stream from memory
// straight into tiles, nothing else is done to them.
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/bf16_layout.h"
#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/avx512/vector.h"
// After the vector that it is written in.
#include "kernels/cpu/generic/finish.inc"

namespace sluice::kernels::amx {
namespace {

constexpr int64_t kPairOutputs = 2 * kPanel;
constexpr int64_t kPartBlocks = 16;     // of two panels in L1: 32 KB
constexpr int64_t kStretchBlocks = 48;  // whose activations stay in L2
constexpr int64_t kGroupsAtOnce = 16;   // of 16 rows
constexpr int64_t kPairsAtOnce = 8;     // of panels, whose sums wait while there are stretches

void configure(int64_t slots) {
  static constexpr TileConfig kConfigs[] = {{1, 2}, {2, 2}, {4, 2}, {8, 2}, {16, 2}};
  _tile_loadconfig(&kConfigs[__builtin_ctzll(static_cast<uint64_t>(slots))]);
}

// Two panels; the second may be the first again.
struct Panels {
  const std::byte* data[2];
  int64_t first_output;
  bool has_second;
};
Panels panels_from(const PackedWeights& weights, int64_t output) {
  const int64_t panel = output / kPanel, bytes = bf16_panel_bytes(weights.inputs);
  const bool has_second = output + kPanel < weights.outputs;
  const std::byte* first = weights.data + panel * bytes;
  return {{first, has_second ? first + bytes : first}, output, has_second};
}

// Of two groups × two panels.
struct Sums {
  alignas(64) float of[2][2][kTileRows * kPanel];
};

// What is left to do of two groups whose sums are complete: rows [next, end) to y.
struct Finish {
  const Sums* sums = nullptr;
  int64_t first = 0;  // row of the groups' first
  int64_t next = 0;
  int64_t end = 0;
};

inline void finish_row(const LinearArgs& args, const Panels& panels, int64_t slots, Finish& rest) {
  if (rest.next == rest.end) return;
  const int64_t r = rest.next++;
  const auto& sums = rest.sums->of[r / slots];
  const int64_t at = r % slots * kPanel;
  finish(args, rest.first + r, panels.first_output, _mm512_load_ps(sums[0] + at));
  if (panels.has_second)
    finish(args, rest.first + r, panels.first_output + kPanel, _mm512_load_ps(sums[1] + at));
}

// Weights that are multiplied next, on their way to the second cache: the same place of two panels.
struct Prefetch {
  const std::byte* data[2];
  int64_t lines;  // of each panel at once

  void operator()() {
    for (int64_t i = 0; i < lines; ++i)
      for (const std::byte*& at : data) {
        __builtin_prefetch(at, 0, 2);
        at += kRowBytes;
      }
  }
};

// kGroups groups of rows at `x`, one behind the other, × two panels × blocks [part), added to sums
// or, at first, to zero. Once a block, beside(): what the core has room for beside the tiles.
template <int kGroups, typename Beside>
inline void multiply(const std::byte* x, const TileActivations& layout, const Panels& panels,
                     Share part, Sums& sums, const Beside& beside) {
  if (part.begin == 0) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, sums.of[0][0], kRowBytes);
    _tile_loadd(1, sums.of[0][1], kRowBytes);
    if constexpr (kGroups == 2) _tile_loadd(2, sums.of[1][0], kRowBytes);
    if constexpr (kGroups == 2) _tile_loadd(3, sums.of[1][1], kRowBytes);
  }
  const std::byte* next_x = x + layout.group_bytes();
  for (int64_t b = part.begin; b < part.end; ++b) {
    _tile_stream_loadd(4, x + b * layout.block_bytes(), kRowBytes);
    _tile_loadd(6, panels.data[0] + b * kTileBytes, kRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    beside();
    _tile_loadd(7, panels.data[1] + b * kTileBytes, kRowBytes);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kGroups == 2) {
      _tile_stream_loadd(5, next_x + b * layout.block_bytes(), kRowBytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums.of[0][0], kRowBytes);
  _tile_stored(1, sums.of[0][1], kRowBytes);
  if constexpr (kGroups == 2) _tile_stored(2, sums.of[1][0], kRowBytes);
  if constexpr (kGroups == 2) _tile_stored(3, sums.of[1][1], kRowBytes);
}

// Groups of rows × two panels × a stretch of the blocks; with the last block the sums go to y.
void stretch_of_panels(const LinearArgs& args, const TileActivations& layout, Share groups,
                       const Panels& panels, Share stretch, Sums* sums) {
  const bool is_lone = groups.end - groups.begin <= 2;
  const int64_t length = is_lone ? stretch.end : part_of(stretch.end - stretch.begin, kPartBlocks);
  const int64_t slots = layout.slots();
  Finish rest;  // of the groups before
  for (int64_t begin = stretch.begin; begin < stretch.end; begin += length) {
    const Share part = take(begin, length, stretch.end);
    // The part behind, or the first one of the panels behind.
    const int64_t next_at = part.end < stretch.end ? part.end * kTileBytes
                                                   : 2 * bf16_panel_bytes(args.weights.inputs) +
                                                         stretch.begin * kTileBytes;
    const int64_t passes = (groups.end - groups.begin + 1) / 2;
    Prefetch prefetch{{panels.data[0] + next_at, panels.data[1] + next_at},
                      is_lone ? 0 : (kTileRows + passes - 1) / passes};
    for (int64_t g = groups.begin; g < groups.end; g += 2) {
      const std::byte* x = args.x_packed + g * layout.group_bytes();
      Sums& to = sums[(g - groups.begin) / 2];
      const auto beside = [&] {
        prefetch();
        finish_row(args, panels, slots, rest);
        finish_row(args, panels, slots, rest);
      };
      if (g + 1 < groups.end)
        multiply<2>(x, layout, panels, part, to, beside);
      else
        multiply<1>(x, layout, panels, part, to, beside);
      memory_fence();
      if (part.end < layout.blocks()) continue;
      while (rest.next < rest.end) finish_row(args, panels, slots, rest);
      const int64_t left = args.rows - g * slots;
      rest = {&to, g * slots, 0, left < 2 * slots ? left : 2 * slots};
    }
  }
  while (rest.next < rest.end) finish_row(args, panels, slots, rest);
}

}  // namespace

void linear_bf16(const LinearArgs& args, int thread, int threads) {
  if (args.rows == 0) return;
  const TileActivations layout{args.weights.inputs, args.rows};
  const Share outputs = share_of(args.weights.outputs, kPairOutputs, thread, threads);
  const int64_t blocks = layout.blocks();
  // A stretch is for the activations of many groups: few rows take all blocks at once.
  const int64_t length = layout.groups() <= 2 ? blocks : part_of(blocks, kStretchBlocks);
  Sums sums[kPairsAtOnce][kGroupsAtOnce / 2];
  configure(layout.slots());
  for (int64_t g = 0; g < layout.groups(); g += kGroupsAtOnce) {
    const Share groups = take(g, kGroupsAtOnce, layout.groups());
    for (int64_t first = outputs.begin; first < outputs.end; first += kPairsAtOnce * kPairOutputs) {
      const Share some = take(first, kPairsAtOnce * kPairOutputs, outputs.end);
      for (int64_t at = 0; at < blocks; at += length)
        for (int64_t output = some.begin; output < some.end; output += kPairOutputs)
          stretch_of_panels(args, layout, groups, panels_from(args.weights, output),
                            take(at, length, blocks),
                            sums[length < blocks ? (output - first) / kPairOutputs : 0]);
    }
  }
  _tile_release();
}

}  // namespace sluice::kernels::amx
