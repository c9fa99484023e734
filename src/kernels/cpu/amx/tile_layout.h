// Layouts of activations and weights that are tiles as they lie. Internal linkage.
#pragma once

#include "kernels/cpu/amx/tiles.h"

namespace sluice::kernels::amx {
namespace {

// Values of a row in one tile of 64 bytes a row.
constexpr int64_t kBf16TileValues = 32;
constexpr int64_t kInt8TileValues = 64;

// Activations of `rows` rows: groups of 16 rows (of few rows one group, padded with zeros to 1, 2,
// 4, 8 or 16), each (blocks, slots, 64 bytes): a block of a group is a tile. Of int8 the rows'
// scales follow, f32 (groups, slots).
struct TileActivations {
  int64_t inputs;
  int64_t rows;
  int64_t tile_values = kBf16TileValues;

  constexpr int64_t blocks() const { return (inputs + tile_values - 1) / tile_values; }
  constexpr int64_t slots() const {
    int64_t slots = 1;
    while (slots < rows && slots < 16) slots *= 2;
    return slots;
  }
  constexpr int64_t groups() const { return (rows + slots() - 1) / slots(); }
  constexpr int64_t block_bytes() const { return slots() * kRowBytes; }
  constexpr int64_t group_bytes() const { return blocks() * block_bytes(); }
  constexpr int64_t scales_at() const { return groups() * group_bytes(); }
  constexpr int64_t bytes() const {
    if (rows == 0) return 0;
    return tile_values == kBf16TileValues ? scales_at() : scales_at() + groups() * slots() * 4;
  }
};

// Weights: panels of 16 outputs, of each its blocks of values as tiles: 16 rows of the panel's
// outputs, each with two bf16 values that follow each other, or four int8. Of int8 the outputs'
// scales follow, f32 (panels, 16).
struct TileWeights {
  int64_t outputs;
  int64_t inputs;
  int64_t tile_values = kBf16TileValues;

  constexpr int64_t panels() const { return (outputs + kPanel - 1) / kPanel; }
  constexpr int64_t panel_bytes() const {
    return (inputs + tile_values - 1) / tile_values * kTileBytes;
  }
  constexpr int64_t scales_at() const { return panels() * panel_bytes(); }
  constexpr int64_t bytes() const {
    return tile_values == kBf16TileValues ? scales_at() : scales_at() + panels() * kPanel * 4;
  }
};

}  // namespace
}  // namespace sluice::kernels::amx
