// Weights that a device takes from the processor's memory while steps run: matrices as the
// processor's kernels keep them, copied over the link beside the queue and unpacked on the device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/dtype.h"

namespace sluice::kernels {

struct Ops;

// How a table of ops.h keeps a matrix, as far as a device can read it.
enum class PackedLayout : uint8_t { kUnknown, kPlanes, kPlanesWithMinima, kE4m3 };
PackedLayout packed_layout(const Ops& ops, core::DType type);

// Of the first two (kernels/cpu/amx/planes_layout.h): panels of 16 outputs, each 16 units d in
// f32 and pairs of blocks of 32. Of a pair: codes 2 × 256 bytes, four vectors of 16 lanes × 4 bytes
// each, the four bytes j of a lane being bytes 4j … 4j + 3 of a Q4_0 block; and behind them digits
// of a block in turn, 16 lanes of s1 and 16 of s0, or of (s1, t1) and of (s0, t0): a weight is
// d · (s · (code - 8) + t), s = 29 · s1 + s0.
struct PlanesOnHost {
  static constexpr int64_t kPanel = 16, kBlock = 32, kHeaderBytes = 64, kCodeBytes = 256;
  static constexpr int32_t kBase = 29;
  bool minima = false;
  constexpr int64_t digit_bytes() const { return minima ? 32 : 16; }
  constexpr int64_t pair_bytes() const { return 2 * kCodeBytes + 4 * digit_bytes(); }
  constexpr int64_t panel_bytes(int64_t inputs) const {
    return kHeaderBytes + (inputs + 2 * kBlock - 1) / (2 * kBlock) * pair_bytes();
  }
};

// Of the third (kernels/cpu/amx/f8_layout.h): panels of 16 outputs, each blocks of 128 inputs: 4
// tiles of 32 inputs, and scales in f32 (16). Of a tile: for each four inputs 64 bytes, of which
// output 4q + o has two at 16q + 2o and two 8 behind.
struct E4m3OnHost {
  static constexpr int64_t kPanel = 16, kBlock = 128, kTile = 32, kTileBytes = kTile * kPanel;
  static constexpr int64_t kScalesAt = kBlock / kTile * kTileBytes;
  static constexpr int64_t kBlockBytes = kScalesAt + kPanel * 4;
  static constexpr int64_t first_byte(int64_t lane) { return lane / 4 * 16 + lane % 4 * 2; }
};

// What they become there (device_weights.h): Q4_0, with minima Q4_1, scales rounded to f16; e4m3
// as it is.
constexpr core::DType brought_type(PackedLayout layout) {
  if (layout == PackedLayout::kE4m3) return core::DType::kF8_B128;
  return layout == PackedLayout::kPlanesWithMinima ? core::DType::kQ4_1 : core::DType::kQ4_0;
}

struct BroughtMatrix {
  PackedLayout layout = PackedLayout::kUnknown;  // known
  int64_t outputs = 0;                           // a multiple of 16
  int64_t inputs = 0;                            // a multiple of 32, of kE4m3 of 128
  const std::byte* from = nullptr;               // pinned
  int64_t bytes = 0;
  std::byte* to = nullptr;  // device_weight_bytes(brought_type(layout), outputs, inputs)
};

inline constexpr int32_t kBringSlots = 3;

struct DeviceBringArgs {
  std::span<const BroughtMatrix> matrices;
  std::byte* staging = nullptr;  // on the device: two of staging_bytes
  int64_t staging_bytes = 0;     // of the largest matrix; a multiple of 256
  int32_t slot = 0;              // below kBringSlots: what await_brought() names it by
};

}  // namespace sluice::kernels
