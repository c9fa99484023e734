// Linear layers of bf16 weights on the tile unit.
//
// TDPBF16PS adds to every (row, output) of a tile, over 32 values, two float sums, of the even and
// of the odd values, each in order by fused multiply-adds. The tile's own sum runs through all
// blocks in their order; then + bias, + residual. Rows of a tile do not meet, so a row's bits do
// not depend on the others.
//
// Arithmetic: two groups of 16 rows × two panels share four loads for four products of 16 cycles.
// With few rows the weights stream from memory straight into tiles: nothing else is done to them.
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/bf16_layout.h"
#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/avx512/vector.h"
// After the vector that it is written in.
#include "kernels/cpu/generic/finish.inc"

namespace sluice::kernels::amx {
namespace {

constexpr int64_t kPairOutputs = 2 * kPanel;

void configure(int64_t slots) {
  static constexpr TileConfig kConfigs[] = {{1, 2}, {2, 2}, {4, 2}, {8, 2}, {16, 2}};
  _tile_loadconfig(&kConfigs[__builtin_ctzll(static_cast<uint64_t>(slots))]);
}

// The sums of a tile to y: rows [first, first + slots), as far as there are rows.
void finish_tile(const LinearArgs& args, const float* sums, int64_t first, int64_t slots,
                 int64_t panel) {
  for (int64_t r = 0; r < slots && first + r < args.rows; ++r)
    finish(args, first + r, panel * kPanel, _mm512_load_ps(sums + r * kPanel));
}

// kGroups groups of rows from `group` on × two panels; the second may be the first again.
template <int kGroups>
void pair_of_panels(const LinearArgs& args, const TileActivations& layout, int64_t group,
                    int64_t panel, int64_t next_panel) {
  const std::byte* x = args.x_packed + group * layout.group_bytes();
  const std::byte* next_x = x + layout.group_bytes();
  const std::byte* weights = args.weights.data + panel * bf16_panel_bytes(args.weights.inputs);
  const std::byte* next = args.weights.data + next_panel * bf16_panel_bytes(args.weights.inputs);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t b = 0; b < layout.blocks(); ++b) {
    _tile_loadd(4, x + b * layout.block_bytes(), kRowBytes);
    _tile_loadd(6, weights + b * kTileBytes, kRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, next + b * kTileBytes, kRowBytes);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kGroups == 2) {
      _tile_loadd(5, next_x + b * layout.block_bytes(), kRowBytes);
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
  const int64_t slots = layout.slots();
  finish_tile(args, sums[0], group * slots, slots, panel);
  if (next_panel != panel) finish_tile(args, sums[1], group * slots, slots, next_panel);
  if constexpr (kGroups == 2) {
    finish_tile(args, sums[2], (group + 1) * slots, slots, panel);
    if (next_panel != panel) finish_tile(args, sums[3], (group + 1) * slots, slots, next_panel);
  }
}

}  // namespace

void linear_bf16(const LinearArgs& args, int thread, int threads) {
  if (args.rows == 0) return;
  const TileActivations layout{args.weights.inputs, args.rows};
  const Share outputs = share_of(args.weights.outputs, kPairOutputs, thread, threads);
  const int64_t last_panel = (args.weights.outputs - 1) / kPanel;
  configure(layout.slots());
  for (int64_t output = outputs.begin; output < outputs.end; output += kPairOutputs) {
    const int64_t panel = output / kPanel;
    const int64_t next = panel < last_panel ? panel + 1 : panel;
    int64_t group = 0;
    for (; group + 2 <= layout.groups(); group += 2)
      pair_of_panels<2>(args, layout, group, panel, next);
    if (group < layout.groups()) pair_of_panels<1>(args, layout, group, panel, next);
  }
  _tile_release();
}

}  // namespace sluice::kernels::amx
