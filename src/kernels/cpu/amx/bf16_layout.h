// Layouts of bf16 activations and weights. Internal linkage.
#pragma once

#include "kernels/cpu/generic/packed.h"

namespace sluice::kernels::amx {
namespace {

// Activations of `rows` rows in bf16: groups of 16 rows (of few rows one group, padded with zeros
// to 1, 2, 4, 8 or 16), each (blocks, slots, 32): a block of a group is a tile.
struct TileActivations {
  int64_t inputs;
  int64_t rows;

  constexpr int64_t blocks() const { return (inputs + kBlock - 1) / kBlock; }
  constexpr int64_t slots() const {
    int64_t slots = 1;
    while (slots < rows && slots < 16) slots *= 2;
    return slots;
  }
  constexpr int64_t groups() const { return (rows + slots() - 1) / slots(); }
  constexpr int64_t block_bytes() const { return slots() * kBlock * 2; }
  constexpr int64_t group_bytes() const { return blocks() * block_bytes(); }
  constexpr int64_t bytes() const { return rows == 0 ? 0 : groups() * group_bytes(); }
};

// Weights: panels of 16 outputs, of each its blocks of 32 values as tiles (16 pairs of values, 16
// outputs, 2).
constexpr int64_t bf16_panel_bytes(int64_t inputs) {
  return (inputs + kBlock - 1) / kBlock * kBlock * kPanel * 2;
}

}  // namespace
}  // namespace sluice::kernels::amx
