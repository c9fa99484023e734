// Layout of int8 activations for tiles. Internal linkage.
#pragma once

#include "kernels/cpu/generic/packed.h"

namespace sluice::kernels::amx {
namespace {

// Of at least kTilesRowsMin rows: groups of 16, each
//   codes   i8 (blocks, 16, 32): a block of a group is a tile
//   scales  f32 (blocks, 16)
//   sums    f32 (blocks, 16): scale · Σ codes, which a minimum is multiplied with
// Every array of its own, so that the processor's prefetchers follow them. What lies in rows beyond
// the last is multiplied too and not used.
struct TileCodes {
  static constexpr int64_t kRows = 16;
  int64_t inputs;
  int64_t rows;

  constexpr int64_t blocks() const { return inputs / kBlock; }
  constexpr int64_t groups() const { return (rows + kRows - 1) / kRows; }
  constexpr int64_t block_bytes() const { return kRows * kBlock; }
  constexpr int64_t scales_at() const { return blocks() * block_bytes(); }
  constexpr int64_t sums_at() const { return scales_at() + blocks() * kRows * 4; }
  constexpr int64_t group_bytes() const { return sums_at() + blocks() * kRows * 4; }
  constexpr int64_t bytes() const { return groups() * group_bytes(); }
};

}  // namespace
}  // namespace sluice::kernels::amx
