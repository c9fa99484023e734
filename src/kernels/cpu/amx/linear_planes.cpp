// Linear layers of 4-bit weights on int8 planes (planes_layout.h): exact integers up to the last
// step, so few rows on the vector unit and many on tiles give the same bits.
//
// Arithmetic: 16 rows × 16 outputs × 64 values are three TDPBSSD of 16 cycles. Two panels of
// outputs share a group's tiles: six products, six tile loads, four tiles of sums. Weights are
// unpacked to planes (60 cycles for a block of 16 outputs) into a strip that stays in L1, shared by
// the rows of the step; activations pass by it from L2, by loads that leave no trace in L1. Few
// rows: a block is 8 VPDPBUSD per plane, whose dots fit 16 bits, so that VPDPWSSD multiplies them
// with s, and Σ plane with t, in one.
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/planes_layout.h"
#include "kernels/cpu/avx512/vector.h"
// After the vector that they are written in.
#include "kernels/cpu/generic/codes.inc"
#include "kernels/cpu/generic/finish.inc"

namespace sluice::kernels::amx {
namespace {

constexpr int kFewAtOnce = 2;
constexpr int kStripPanels = 2;
constexpr int64_t kStripOutputs = kStripPanels * kPanel;
constexpr int64_t kStripPairs = 9;  // of blocks, unpacked at once: 36 KB
constexpr int64_t kLoneStripPairs =
    4;  // for one group of rows: a strip that leaves L1 costs more than sums
constexpr int64_t kStretchPairs = 27;  // whose activations stay in L2
constexpr int64_t kGroupsAtOnce = 16;  // of 16 rows
constexpr int64_t kStripsAtOnce = 8;   // whose sums wait while the inputs have several stretches

// Codes 0 … 15 as PackedFormat says, digits as 32-bit lanes (s, t · 2^16).
using Codes4 = Codes<PackedFormat{4, Scales::kMinimum}>;

template <bool kMinima>
inline __m512i digits(const uint8_t* at) {
  if constexpr (kMinima)
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  const __m512i wide = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  return _mm512_maskz_mov_epi16(0x55555555u, wide);
}

inline __m512i all_lanes(const std::byte* at) {
  return Vector::load_four_bytes(at);
}

// The sums of a row.
struct Sums {
  __m512i high, mixed;
};

// A block of kPanels panels, one of a pair each, `x` its activations from the first of kRows rows
// on.
template <bool kMinima, int kHalf, int kRows, int kPanels>
inline void few_block(const uint8_t* const* pairs, const std::byte* x, int64_t starts_at,
                      Sums (*sums)[kRows]) {
  constexpr PlaneWeights kWeights{kMinima};
  constexpr int64_t kHalfBytes = kWeights.pair_bytes() / 2;
  __m512i high[kPanels][kRows], low[kPanels][kRows];
#pragma GCC unroll 2
  for (int p = 0; p < kPanels; ++p) {
    prefetch_ahead(pairs[p] + kHalf * kHalfBytes, kHalfBytes);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      high[p][r] = all_lanes(x + starts_at + r * 8);
      low[p][r] = all_lanes(x + starts_at + r * 8 + 4);
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j)
#pragma GCC unroll 2
    for (int p = 0; p < kPanels; ++p) {
      const __m512i bytes = Vector::load_ints(pairs[p] + kHalf * 4 * kRowBytes + j * kRowBytes);
      const __m512i first = Codes4::nibbles<0>(bytes), second = Codes4::nibbles<1>(bytes);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const std::byte* at = x + r * 2 * kBlock + j * 4;
        high[p][r] = Vector::dot(high[p][r], first, all_lanes(at));
        low[p][r] = Vector::dot(low[p][r], first, all_lanes(at + kBlock));
        high[p][r] = Vector::dot(high[p][r], second, all_lanes(at + kBlock / 2));
        low[p][r] = Vector::dot(low[p][r], second, all_lanes(at + kBlock + kBlock / 2));
      }
    }
#pragma GCC unroll 2
  for (int p = 0; p < kPanels; ++p) {
    const uint8_t* at = pairs[p] + kWeights.digits_at() + kHalf * 2 * kWeights.digit_bytes();
    const __m512i high_digits = digits<kMinima>(at);
    const __m512i low_digits = digits<kMinima>(at + kWeights.digit_bytes());
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m512i high_dot = _mm512_xor_si512(high[p][r], _mm512_set1_epi32(kSignBit));
      const __m512i low_dot = _mm512_xor_si512(low[p][r], _mm512_set1_epi32(kSignBit));
      Sums& sum = sums[p][r];
      sum.high = _mm512_dpwssd_epi32(sum.high, high_dot, high_digits);
      sum.mixed = _mm512_dpwssd_epi32(sum.mixed, high_dot, low_digits);
      sum.mixed = _mm512_dpwssd_epi32(sum.mixed, low_dot, high_digits);
    }
  }
}

// Rows [first, first + kRows) × panels `panel`, `panel` + `step`, ….
template <bool kMinima, int kRows, int kPanels>
void few_panels(const LinearArgs& args, const FewRows& layout, int64_t first, int64_t panel,
                int64_t step) {
  constexpr PlaneWeights kWeights{kMinima};
  const uint8_t* data[kPanels];
  const uint8_t* pairs[kPanels];
  Sums sums[kPanels][kRows];
  for (int p = 0; p < kPanels; ++p) {
    data[p] = reinterpret_cast<const uint8_t*>(args.weights.data) +
              (panel + p * step) * kWeights.panel_bytes(args.weights.inputs);
    pairs[p] = data[p] + kHeaderBytes;
    for (int r = 0; r < kRows; ++r) sums[p][r].high = sums[p][r].mixed = _mm512_setzero_si512();
  }
  const std::byte* x = args.x_packed + first * 2 * kBlock;
  const int64_t starts_at = layout.starts_at() + first * (8 - 2 * kBlock);
  const int64_t block_bytes = layout.block_bytes();
  int64_t b = 0;
  for (; b + 2 <= layout.blocks(); b += 2, x += 2 * block_bytes) {
    few_block<kMinima, 0, kRows, kPanels>(pairs, x, starts_at, sums);
    few_block<kMinima, 1, kRows, kPanels>(pairs, x + block_bytes, starts_at, sums);
    for (int p = 0; p < kPanels; ++p) pairs[p] += kWeights.pair_bytes();
  }
  if (b < layout.blocks()) few_block<kMinima, 0, kRows, kPanels>(pairs, x, starts_at, sums);
  const std::byte* row_units = args.x_packed + layout.units_at() + first * 4;
  for (int p = 0; p < kPanels; ++p)
    for (int r = 0; r < kRows; ++r) {
      const __m512 unit = _mm512_mul_ps(_mm512_loadu_ps(data[p]), broadcast(row_units + r * 4));
      const __m512 sum = sum_of(sums[p][r].high, sums[p][r].mixed);
      finish(args, first + r, (panel + p * step) * kPanel, _mm512_mul_ps(sum, unit));
    }
}

// All rows × panels `panel`, `panel` + `step`, ….
template <bool kMinima, int kPanels>
void few_rows_of(const LinearArgs& args, int64_t panel, int64_t step) {
  const FewRows layout{args.weights.inputs, args.rows};
  int64_t first = 0;
  for (; first + kFewAtOnce <= args.rows; first += kFewAtOnce)
    few_panels<kMinima, kFewAtOnce, kPanels>(args, layout, first, panel, step);
  if (first < args.rows) few_panels<kMinima, 1, kPanels>(args, layout, first, panel, step);
}

// Two streams of weights, one from the middle of the share: the window of a stream's prefetches is
// less than a page, which is too little for memory.
template <bool kMinima>
void few_rows(const LinearArgs& args, Share outputs) {
  const int64_t begin = outputs.begin / kPanel;
  const int64_t end = (outputs.end + kPanel - 1) / kPanel, half = (end - begin) / 2;
  for (int64_t panel = begin; panel < begin + half; ++panel)
    few_rows_of<kMinima, 2>(args, panel, half);
  if ((end - begin) % 2 != 0) few_rows_of<kMinima, 1>(args, end - 1, 0);
}

// Planes of two panels as tiles: 16 rows of 4 values × 16 outputs.
struct Strip {
  alignas(64) std::byte tiles[kStripPairs][kStripPanels][2][kTileBytes];
};

// What turns codes to one plane: in 16 bits (s, t - 8 · s) for (code, 1), and the other way round.
struct PlaneDigits {
  __m512i scale_first, minimum_first;
};

template <bool kMinima>
inline PlaneDigits plane_digits(const uint8_t* at) {
  const __m512i words = digits<kMinima>(at);
  __m512i scale = _mm512_and_si512(words, _mm512_set1_epi32(0xffff));
  scale = _mm512_or_si512(scale, _mm512_slli_epi32(scale, 16));
  __m512i minimum = _mm512_slli_epi16(_mm512_sub_epi16(_mm512_setzero_si512(), scale), 3);
  if constexpr (kMinima) {
    const __m512i high = _mm512_srli_epi32(words, 16);
    minimum = _mm512_add_epi16(minimum, _mm512_or_si512(high, _mm512_slli_epi32(high, 16)));
  }
  const __m512i low_byte = _mm512_set1_epi16(0xff);
  // (low & mask) | high
  return {_mm512_ternarylogic_epi32(scale, low_byte, _mm512_slli_epi16(minimum, 8), 0xea),
          _mm512_ternarylogic_epi32(minimum, low_byte, _mm512_slli_epi16(scale, 8), 0xea)};
}

// Bytes code · s + t. even: (code, 1) of the even bytes, odd: (1, code) of the odd ones.
inline __m512i plane_bytes(__m512i even, __m512i odd, const PlaneDigits& digits) {
  const __m512i low = _mm512_maddubs_epi16(even, digits.scale_first);
  const __m512i high = _mm512_slli_epi16(_mm512_maddubs_epi16(odd, digits.minimum_first), 8);
  return _mm512_ternarylogic_epi32(low, _mm512_set1_epi16(0xff), high, 0xea);  // (low & ff) | high
}

// One panel of a strip from its pair of blocks at `pair` on.
template <bool kMinima>
void unpack_panel(const uint8_t* pair, int64_t pairs, int panel, Strip& strip) {
  constexpr PlaneWeights kWeights{kMinima};
  for (int64_t p = 0; p < pairs; ++p, pair += kWeights.pair_bytes()) {
    prefetch_ahead(pair, kWeights.pair_bytes());
    for (int64_t half = 0; half < 2; ++half) {
      const BlockCodes codes = Codes4::unpack(pair, half, 0);
      const uint8_t* at = pair + kWeights.digits_at() + half * 2 * kWeights.digit_bytes();
      const PlaneDigits high = plane_digits<kMinima>(at);
      const PlaneDigits low = plane_digits<kMinima>(at + kWeights.digit_bytes());
      std::byte* to = strip.tiles[p][panel][0] + half * 8 * kRowBytes;
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j, to += kRowBytes) {
        // (codes & mask) | ones
        const __m512i even = _mm512_ternarylogic_epi32(codes.words[j], _mm512_set1_epi16(0x00ff),
                                                       _mm512_set1_epi16(0x0100), 0xea);
        const __m512i odd = _mm512_ternarylogic_epi32(codes.words[j], _mm512_set1_epi16(-0x0100),
                                                      _mm512_set1_epi16(0x0001), 0xea);
        Vector::store_ints(to, plane_bytes(even, odd, high));
        Vector::store_ints(to + kTileBytes, plane_bytes(even, odd, low));
      }
    }
  }
}

// int32 sums of 16 rows × 16 outputs of two panels: high · high and mixed.
struct GroupSums {
  alignas(64) int32_t of[kStripPanels][2][kTileRows * kPanel];
};

// A group's activations `x` × the first pairs of a strip, added to its sums or, at first, to zero.
// Once a pair, beside(): vector work for which the core has room beside the tiles.
template <typename Beside>
inline void multiply_group(const std::byte* x, const Strip& strip, Share pairs, GroupSums& sums,
                           const Beside& beside) {
  if (pairs.begin == 0) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, sums.of[0][0], kRowBytes);
    _tile_loadd(1, sums.of[0][1], kRowBytes);
    _tile_loadd(2, sums.of[1][0], kRowBytes);
    _tile_loadd(3, sums.of[1][1], kRowBytes);
  }
  const std::byte* weights = strip.tiles[0][0][0];
  x += pairs.begin * TileRows::kPairBytes;
  for (int64_t p = pairs.begin; p < pairs.end; ++p) {
    _tile_stream_loadd(4, x, kRowBytes);
    _tile_loadd(6, weights, kRowBytes);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(7, weights + kTileBytes, kRowBytes);
    _tile_dpbssd(1, 4, 7);
    _tile_stream_loadd(5, x + kTileBytes, kRowBytes);
    _tile_dpbssd(1, 5, 6);
    beside();
    _tile_loadd(6, weights + 2 * kTileBytes, kRowBytes);
    _tile_dpbssd(2, 4, 6);
    _tile_loadd(7, weights + 3 * kTileBytes, kRowBytes);
    _tile_dpbssd(3, 4, 7);
    _tile_dpbssd(3, 5, 6);
    x += TileRows::kPairBytes;
    weights += sizeof strip.tiles[0];
  }
  _tile_stored(0, sums.of[0][0], kRowBytes);
  _tile_stored(1, sums.of[0][1], kRowBytes);
  _tile_stored(2, sums.of[1][0], kRowBytes);
  _tile_stored(3, sums.of[1][1], kRowBytes);
}

// What is left to do of a group whose sums are complete: rows [next, end) to y.
struct Finish {
  const GroupSums* sums = nullptr;
  const float* row_units = nullptr;  // of the group's rows
  int64_t first = 0;                 // its first row
  int64_t next = 0;
  int64_t end = 0;
};

// units: of each panel, whose outputs are those from `output` on.
inline void finish_row(const LinearArgs& args, const __m512* units, int64_t output, Finish& rest) {
  if (rest.next == rest.end) return;
  const int64_t r = rest.next++;
  for (int p = 0; p < kStripPanels; ++p) {
    const __m512 sum = sum_of(_mm512_load_si512(rest.sums->of[p][0] + r * kPanel),
                              _mm512_load_si512(rest.sums->of[p][1] + r * kPanel));
    finish(args, rest.first + r, output + p * kPanel,
           _mm512_mul_ps(sum, _mm512_mul_ps(units[p], _mm512_set1_ps(rest.row_units[r]))));
  }
}

// The strip of outputs from `output` on × groups of rows × a stretch of the inputs, whose last part
// goes to y. `sums` of the groups. A second panel beyond the last repeats it, and finish() drops
// it.
template <bool kMinima>
void tile_strip(const LinearArgs& args, int64_t output, Share groups, Share stretch,
                GroupSums* sums) {
  constexpr PlaneWeights kWeights{kMinima};
  const TileRows layout{args.weights.inputs, args.rows};
  const int64_t pairs = pairs_of(args.weights.inputs);
  const int64_t panel_bytes = kWeights.panel_bytes(args.weights.inputs);
  const int64_t last_panel = (args.weights.outputs - 1) / kPanel;
  const uint8_t* data[kStripPanels];
  __m512 units[kStripPanels];
  for (int p = 0; p < kStripPanels; ++p) {
    const int64_t panel = output / kPanel + p;
    data[p] = reinterpret_cast<const uint8_t*>(args.weights.data) +
              (panel < last_panel ? panel : last_panel) * panel_bytes;
    units[p] = _mm512_loadu_ps(data[p]);
  }
  Strip strip;
  Finish rest;  // of the group before
  const bool is_lone = groups.end - groups.begin == 1;
  const int64_t length =
      part_of(stretch.end - stretch.begin, is_lone ? kLoneStripPairs : kStripPairs);
  for (int64_t begin = stretch.begin; begin < stretch.end; begin += length) {
    const Share part = take(begin, length, stretch.end);
    for (int p = 0; p < kStripPanels; ++p)
      unpack_panel<kMinima>(data[p] + kHeaderBytes + begin * kWeights.pair_bytes(),
                            part.end - part.begin, p, strip);
    memory_fence();
    for (int64_t g = groups.begin; g < groups.end; ++g) {
      const std::byte* x = args.x_packed + g * layout.group_bytes();
      // Those of a single part stay in two places.
      GroupSums& to = sums[pairs > kStripPairs ? g - groups.begin : g % 2];
      multiply_group(x, strip, part, to, [&] {
        finish_row(args, units, output, rest);
        finish_row(args, units, output, rest);
      });
      memory_fence();
      if (part.end < pairs) continue;
      while (rest.next < rest.end) finish_row(args, units, output, rest);
      const int64_t left = args.rows - g * kTileRows;
      rest = {.sums = &to,
              .row_units = reinterpret_cast<const float*>(x + layout.units_at()),
              .first = g * kTileRows,
              .next = 0,
              .end = left < kTileRows ? left : kTileRows};
    }
  }
  while (rest.next < rest.end) finish_row(args, units, output, rest);
}

template <bool kMinima>
void tile_rows(const LinearArgs& args, Share outputs) {
  static constexpr TileConfig kConfig(kTileRows, 2);
  const int64_t groups = TileRows{args.weights.inputs, args.rows}.groups();
  const int64_t pairs = pairs_of(args.weights.inputs);
  GroupSums sums[kStripsAtOnce][kGroupsAtOnce];
  const int64_t length = part_of(pairs, kStretchPairs);
  _tile_loadconfig(&kConfig);
  for (int64_t g = 0; g < groups; g += kGroupsAtOnce) {
    const Share some_groups = take(g, kGroupsAtOnce, groups);
    for (int64_t first = outputs.begin; first < outputs.end;
         first += kStripsAtOnce * kStripOutputs) {
      for (int64_t at = 0; at < pairs; at += length) {
        const Share stretch = take(at, length, pairs);
        for (int64_t s = 0; s < kStripsAtOnce; ++s) {
          const int64_t output = first + s * kStripOutputs;
          if (output >= outputs.end) break;
          tile_strip<kMinima>(args, output, some_groups, stretch,
                              sums[pairs > kStretchPairs ? s : 0]);
        }
      }
    }
  }
  _tile_release();
}

template <bool kMinima>
void linear_of(const LinearArgs& args, int thread, int threads) {
  if (args.rows < kPlaneTileRowsMin)
    few_rows<kMinima>(args, share_of(args.weights.outputs, kPanel, thread, threads));
  else
    tile_rows<kMinima>(args, share_of(args.weights.outputs, kStripOutputs, thread, threads));
}

}  // namespace

void linear_planes(const LinearArgs& args, int thread, int threads) {
  if (has_minima(args.weights.type))
    linear_of<true>(args, thread, threads);
  else
    linear_of<false>(args, thread, threads);
}

}  // namespace sluice::kernels::amx
