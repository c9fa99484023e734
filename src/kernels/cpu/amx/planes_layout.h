// Planes: integer linear layers of 4-bit weights without a scale inside the sum. Internal linkage.
//
// A weight is scale · code + minimum of its block, code in [-8, 7]. At load every output gets one
// unit d such that scale ≈ d · s and minimum ≈ d · t with whole s and t, each in two digits of base
// kBase: s = kBase · s1 + s0, t alike. So a weight is d · (kBase · high + low), where
//     high = s1 · code + t1 and low = s0 · code + t0         both int8: the weight's planes.
// An activation of a row is e · (kBase · high + low), 12 bits and a sign, e of its row. Of the four
// products of planes low · low, under 1/4000 of the result, is left out; the others are exact in
// int32, and the mixed ones share a sum, so the result (sum_of below) does not depend on the order
// of summation.
#pragma once

#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/generic/packed.h"

namespace sluice::kernels::amx {
namespace {

constexpr int32_t kBase = 29;      // 8 · |s0| + |t0| ≤ 9 · 14 < 128
constexpr int32_t kHighMax = 122;  // 8 · |s| + |t| ≤ kBase · kHighMax: rounding adds at most 4.5
// Of an activation. The mixed sum of kLinearInputsMax values fits: 115 · 126 + 14 · 127 < 2^14.
constexpr int32_t kCodeMax = 115 * kBase;
constexpr int32_t kSignBit = 1 << 15;
constexpr int64_t kHeaderBytes = 64;
constexpr int64_t kPairValues = 2 * kBlock;

constexpr bool has_planes(core::DType type) {
  using core::DType;
  return type == DType::kQ4_0 || type == DType::kQ4_1 || type == DType::kQ4_K ||
         type == DType::kI4_B32 || type == DType::kI4_Z32;
}
constexpr bool has_minima(core::DType type) {
  return type != core::DType::kQ4_0 && type != core::DType::kI4_B32;
}
constexpr int64_t pairs_of(int64_t inputs) {
  return (inputs + kPairValues - 1) / kPairValues;
}

// Weights: panels of 16 outputs, each
//   units   f32 (16): d
//   pairs of blocks (the last block of an odd number is zero), each
//     codes   2 × 256 bytes as PackedFormat of 4 bits
//     digits  2 × i8 (2, 16): s1 and s0 of the outputs; with minima
//             2 × i8 (2, 16, 2): (s1, t1) and (s0, t0)
struct PlaneWeights {
  bool minima;
  constexpr int64_t digit_bytes() const { return minima ? 32 : 16; }  // of a block and one place
  constexpr int64_t digits_at() const { return 512; }
  constexpr int64_t pair_bytes() const { return 512 + 4 * digit_bytes(); }
  constexpr int64_t panel_bytes(int64_t inputs) const {
    return kHeaderBytes + pairs_of(inputs) * pair_bytes();
  }
};

// Activations of fewer than kPlaneTileRowsMin rows, blocks in turn:
//   planes  i8 (rows, 2, 32)
//   starts  i32 (rows, 2): where the dot of plane and codes + 8 starts, so that it ends with the
//   dot,
//           its sign bit inverted, in the low half of 32 bits and Σ plane in the high half
// and e, f32 (rows), after all blocks.
struct FewRows {
  int64_t inputs;
  int64_t rows;
  constexpr int64_t blocks() const { return inputs / kBlock; }
  constexpr int64_t starts_at() const { return rows * 2 * kBlock; }
  constexpr int64_t block_bytes() const { return starts_at() + rows * 8; }
  constexpr int64_t units_at() const { return blocks() * block_bytes(); }
  constexpr int64_t bytes() const { return units_at() + rows * 4; }
};

// Of more rows: groups of 16, each i8 (pairs, 2, 16, 64), high and low tiles, and e, f32 (16). What
// lies beyond the last row or the inputs is multiplied too: with zero weights, or not used.
struct TileRows {
  int64_t inputs;
  int64_t rows;
  static constexpr int64_t kPairBytes = 2 * kTileBytes;
  constexpr int64_t groups() const { return (rows + kTileRows - 1) / kTileRows; }
  constexpr int64_t units_at() const { return pairs_of(inputs) * kPairBytes; }
  constexpr int64_t group_bytes() const { return units_at() + kTileRows * 4; }
  constexpr int64_t bytes() const { return groups() * group_bytes(); }
};

}  // namespace
}  // namespace sluice::kernels::amx
