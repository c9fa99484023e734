// Wide planes: linear layers of 5-, 6- and 8-bit weights, and of 4-bit floats, without a scale
// inside the sum. Internal linkage.
//
// At load every output gets one unit d. A weight is d · w, w whole, made of its code and whole
// numbers of its block:
//     w = round(scale · code / 128) + middle          scale, middle int16; code int8, the file's
//                                                     bits at the top of the byte
// so that |w| ≤ kWideMax and a weight moves by about 2^-16 of the largest of its output. Both w and
// an activation's number (e · a, e of its row) are 256 · high + low, all int8. As with the planes
// of 4-bit weights (planes_layout.h) low · low is left out, and the sums are exact in int32.
#pragma once

#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/planes_layout.h"
#include "kernels/cpu/generic/pack.h"
#include "kernels/cpu/generic/packed.h"

namespace sluice::kernels::amx {
namespace {

constexpr int32_t kWideBase = 256;
constexpr int32_t kWideMax = 127 * kWideBase + 127;
// The mixed sum: |high · low| ≤ 127 · 128, twice.
static_assert(kLinearInputsMax * 2 * 127 * 128 < int64_t{1} << 31);

struct WideFormat {
  int bits;    // of a code; 4: e2m1
  int scales;  // of a block of 32
  bool minima;

  // Codes are read as these say.
  constexpr PackedFormat packed() const {
    return {bits, Scales::kSymmetric, bits == 4 ? CodeValues::kSignedE2m1 : CodeValues::kWhole};
  }
};

// Calls visit.operator()<format>() for a type that is neither float nor has 4-bit planes; types
// without codes of at most 8 bits of their own are decoded and stored in 8 bits.
template <typename Visit>
inline auto visit_wide(core::DType type, const Visit& visit) {
  using core::DType;
  switch (type) {
    case DType::kMXFP4:
      return visit.template operator()<WideFormat{4, 1, false}>();
    case DType::kQ5_0:
      return visit.template operator()<WideFormat{5, 1, false}>();
    case DType::kQ5_1:
    case DType::kQ5_K:
      return visit.template operator()<WideFormat{5, 1, true}>();
    case DType::kQ6_K:
      return visit.template operator()<WideFormat{6, 2, false}>();
    default:
      return visit.template operator()<WideFormat{8, 1, false}>();
  }
}

// Weights: panels of 16 outputs, each
//   units    f32 (16): d
//   pairs of blocks (the last block of an odd number is zero), each
//     codes    2 × bits · 64 bytes as PackedFormat, the highest bit of a whole code inverted
//     scales   2 × i16 (scales, 16)
//     middles  2 × i16 (16), with minima
template <WideFormat kFormat>
struct WideWeights {
  static constexpr int64_t kWordsBytes = 2 * kPanel;
  static constexpr int64_t kScalesAt = 2 * kFormat.bits * 64;
  static constexpr int64_t kMiddlesAt = kScalesAt + 2 * kFormat.scales * kWordsBytes;
  static constexpr int64_t kPairBytes = kMiddlesAt + (kFormat.minima ? 2 * kWordsBytes : 0);
  static constexpr int64_t panel_bytes(int64_t inputs) {
    return kHeaderBytes + pairs_of(inputs) * kPairBytes;
  }
};

// Activations of fewer than kWideTileRowsMin rows: blocks in turn, (rows, 8, 16 bytes): of four
// values a … d, whose digits are a1, a0 and so on,
//     a1 a0 c1 c0  b1 b0 d1 d0     for the mixed sum with words (low, high) of even and odd values
//      0 a1  0 c1   0 b1  0 d1     for the high one
// then
//   units   f32 (rows): e
//   starts  i32 (rows, 2): where the two sums start, whose weights have 128 added to both digits
// More rows: TileRows.
struct WideFewRows {
  static constexpr int64_t kRowBytes = 4 * kBlock;
  int64_t inputs;
  int64_t rows;
  constexpr int64_t blocks() const { return inputs / kBlock; }
  constexpr int64_t block_bytes() const { return rows * kRowBytes; }
  constexpr int64_t units_at() const { return blocks() * block_bytes(); }
  constexpr int64_t starts_at() const { return units_at() + rows * 4; }
  constexpr int64_t bytes() const { return starts_at() + rows * 8; }
};

}  // namespace
}  // namespace sluice::kernels::amx
