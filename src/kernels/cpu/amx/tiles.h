// Tile registers and the layouts around them. Internal linkage: only for files compiled for AMX.
//
// A product of tiles is rows × 32 values by 32 values × 16 outputs (TDPBF16PS): of every (row,
// output) two float sums, of the even and of the odd values, each in order by fused
// multiply-adds, are added up and then added to the result. Rows do not meet, so a row's bits do
// not depend on the others.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/generic/packed.h"

namespace sluice::kernels::amx {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kTileBytes = 1024;  // 16 rows of 64 bytes
constexpr int64_t kRowBytes = 64;     // 32 bf16, or 16 float

// Where value k of a block stands in a tile: the order in which nibbles unpack. Row 4j + i of a
// weight tile holds for every output the pair of values (4j, 4j + 2) of
//   i = 0, 2: low nibbles of the bytes 0, 1 of a lane (the pair begins with 4j, 4j + 1)
//   i = 1, 3: the same of the high nibbles, values 16 on.
struct TileOrder {
  alignas(64) uint16_t value_at[32] = {};
  constexpr TileOrder() {
    for (int j = 0; j < 4; ++j)
      for (int i = 0; i < 4; ++i)
        for (int of_pair = 0; of_pair < 2; ++of_pair)
          value_at[2 * (4 * j + i) + of_pair] =
              static_cast<uint16_t>(16 * (i % 2) + 4 * j + i / 2 + 2 * of_pair);
  }
};
constexpr TileOrder kTileOrder;

// Activations of `rows` rows in bf16: groups of 16 rows (of few rows one group, padded with zeros
// to 1, 2, 4, 8 or 16), each
//   values  bf16 (blocks, slots, 32) in kTileOrder; a block of a group is a tile
//   sums    f32 (blocks, slots): Σ of a block's values, which a minimum is multiplied with
struct TileActivations {
  int64_t inputs;
  int64_t rows;

  constexpr int64_t blocks() const { return (inputs + kBlock - 1) / kBlock; }
  constexpr int64_t slots() const {
    int64_t slots = 1;
    while (slots < rows && slots < kTileRows) slots *= 2;
    return slots;
  }
  constexpr int64_t groups() const { return (rows + slots() - 1) / slots(); }
  constexpr int64_t sums_at() const { return blocks() * slots() * kRowBytes; }
  constexpr int64_t group_bytes() const {
    return (sums_at() + blocks() * slots() * 4 + 63) / 64 * 64;
  }
  constexpr int64_t bytes() const { return rows == 0 ? 0 : groups() * group_bytes(); }
};

// bf16 weights: panels of 16 outputs, of each its blocks of 32 values as tiles in kTileOrder.
constexpr int64_t bf16_panel_bytes(int64_t inputs) {
  return (inputs + kBlock - 1) / kBlock * kTileBytes;
}

// Registers: 0–3 sums (rows × 16 floats), 4 and 5 activations (rows × 32), 6 and 7 weights.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {};
  constexpr explicit TileConfig(uint8_t slots)
      : rows{slots, slots, slots, slots, slots, slots, kTileRows, kTileRows} {}
};

inline void configure_tiles(int64_t slots) {
  static constexpr TileConfig kConfigs[] = {TileConfig(1), TileConfig(2), TileConfig(4),
                                            TileConfig(8), TileConfig(16)};
  _tile_loadconfig(&kConfigs[__builtin_ctzll(static_cast<uint64_t>(slots))]);
}

// Tile loads and stores are asm that does not name its memory.
inline void memory_fence() {
  __asm__ volatile("" ::: "memory");
}

}  // namespace
}  // namespace sluice::kernels::amx
