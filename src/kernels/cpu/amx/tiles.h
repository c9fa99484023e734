// What both tile kernels share. Internal linkage: only for files compiled for AMX.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/generic/packed.h"

namespace sluice::kernels::amx {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kTileBytes = 1024;  // 16 rows of 64 bytes
constexpr int64_t kRowBytes = 64;

// Registers: 0–3 sums (rows × 16), 4 and 5 activations (rows × 32 values), 6 and 7 weights
// (32 values × 16 outputs, two bf16 or four int8 values of each output side by side).
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 0, 0, 64, 64};
  uint8_t rows[16] = {};
  constexpr TileConfig(int sum_rows, int value_bytes) {
    for (int i = 0; i < 6; ++i) rows[i] = static_cast<uint8_t>(sum_rows);
    row_bytes[4] = row_bytes[5] = static_cast<uint16_t>(kBlock * value_bytes);
    rows[6] = rows[7] = static_cast<uint8_t>(kBlock * value_bytes / 4);
  }
};

// Tile loads and stores are asm that does not name its memory.
inline void memory_fence() {
  __asm__ volatile("" ::: "memory");
}

// `all` in as few parts of at most `most` as it takes, all but the last of one length.
inline int64_t part_of(int64_t all, int64_t most) {
  const int64_t parts = (all + most - 1) / most;
  return (all + parts - 1) / parts;
}
inline Share take(int64_t begin, int64_t length, int64_t end) {
  return {begin, begin + length < end ? begin + length : end};
}

}  // namespace
}  // namespace sluice::kernels::amx
