// Layout of e4m3 weights with a scale for 128 inputs. Internal linkage.
//
// Panels of 16 outputs, of each its blocks of 128 inputs:
//   codes   4 × 512 bytes, a tile of 32 inputs each: 8 vectors of 64. Byte 16·q + 8·h + 2·o + p of
//           vector v is output 4·q + o, input 4·v + 2·h + p: with each code widened to two bytes
//           where it lies, the vector's halves are rows 2·v and 2·v + 1 of a bf16 tile
//   scales  f32 (16)
#pragma once

#include "kernels/cpu/generic/packed.h"

namespace sluice::kernels::amx {
namespace {

struct F8Weights {
  static constexpr int64_t kBlockValues = 128;
  static constexpr int64_t kTilesOfBlock = kBlockValues / kBlock;
  static constexpr int64_t kTileCodeBytes = kBlock * kPanel;
  static constexpr int64_t kScalesAt = kTilesOfBlock * kTileCodeBytes;
  static constexpr int64_t kBlockBytes = kScalesAt + kPanel * 4;

  int64_t inputs;

  constexpr int64_t blocks() const { return inputs / kBlockValues; }
  constexpr int64_t panel_bytes() const { return blocks() * kBlockBytes; }
};

}  // namespace
}  // namespace sluice::kernels::amx
