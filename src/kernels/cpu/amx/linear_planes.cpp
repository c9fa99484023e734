// Linear layers of 4-bit weights on int8 planes (planes_layout.h): exact integers up to the last
// step, so few rows on the vector unit and many on tiles give the same bits.
//
// Arithmetic: 16 rows × 16 outputs × 64 values are three TDPBSSD of 16 cycles and four tile loads.
// Unpacking a block of 16 outputs to planes takes about 60 cycles, shared by the rows of the step.
// Few rows: a block is 8 VPDPBUSD per plane, whose dots fit 16 bits, so that VPDPWSSD multiplies
// them with s, and Σ plane with t, in one.
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/planes_layout.h"
#include "kernels/cpu/avx512/vector.h"
// After the vector that they are written in.
#include "kernels/cpu/generic/codes.inc"
#include "kernels/cpu/generic/finish.inc"

namespace sluice::kernels::amx {
namespace {

constexpr int kFewAtOnce = 2;
constexpr int64_t kStripPairs = 9;                     // unpacked at once
constexpr int64_t kGroupsAtOnce = 32;                  // of 16 rows
constexpr int64_t kActivationCacheBytes = 1200 << 10;  // of their activations

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
  __m512i high, high_low, low_high;
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
      Sums& sum = sums[p][r];
      sum.high = _mm512_dpwssd_epi32(sum.high, high[p][r], high_digits);
      sum.high_low = _mm512_dpwssd_epi32(sum.high_low, low[p][r], high_digits);
      sum.low_high = _mm512_dpwssd_epi32(sum.low_high, high[p][r], low_digits);
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
    for (int r = 0; r < kRows; ++r)
      sums[p][r].high = sums[p][r].high_low = sums[p][r].low_high = _mm512_setzero_si512();
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
  for (int p = 0; p < kPanels; ++p) {
    const __m512i high_bias = Vector::load_ints(data[p] + 64);
    const __m512i low_bias = Vector::load_ints(data[p] + 128);
    for (int r = 0; r < kRows; ++r) {
      const __m512 unit = _mm512_mul_ps(_mm512_loadu_ps(data[p]), broadcast(row_units + r * 4));
      const __m512 sum = sum_of(_mm512_sub_epi32(sums[p][r].high, high_bias),
                                _mm512_sub_epi32(sums[p][r].high_low, high_bias),
                                _mm512_sub_epi32(sums[p][r].low_high, low_bias));
      finish(args, first + r, (panel + p * step) * kPanel, _mm512_mul_ps(sum, unit));
    }
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

// A panel's planes as tiles: 16 rows of 4 values × 16 outputs.
struct Strip {
  alignas(64) std::byte tiles[kStripPairs][2][kTileBytes];
};

// What turns codes to one plane: s in both halves of a lane, t - 8 · s in the low bytes of both
// halves' sums, and the same for the high bytes.
struct PlaneDigits {
  __m512i scale, low_minimum, high_minimum;
};

template <bool kMinima>
inline PlaneDigits plane_digits(const uint8_t* at) {
  const __m512i words = digits<kMinima>(at);
  const __m512i scale = _mm512_or_si512(_mm512_and_si512(words, _mm512_set1_epi32(0xffff)),
                                        _mm512_slli_epi32(words, 16));
  __m512i minimum = _mm512_slli_epi16(_mm512_sub_epi16(_mm512_setzero_si512(), scale), 3);
  if constexpr (kMinima) {
    const __m512i high = _mm512_srli_epi32(words, 16);
    minimum = _mm512_add_epi16(minimum, _mm512_or_si512(high, _mm512_slli_epi32(high, 16)));
  }
  return {scale, minimum, _mm512_slli_epi16(minimum, 8)};
}

// Bytes code · s + t: even and odd bytes as products of 16 bits, the odd ones already shifted.
inline __m512i plane_bytes(__m512i even, __m512i odd, const PlaneDigits& digits) {
  const __m512i low = _mm512_add_epi16(_mm512_mullo_epi16(even, digits.scale), digits.low_minimum);
  const __m512i high = _mm512_add_epi16(_mm512_mullo_epi16(odd, digits.scale), digits.high_minimum);
  return _mm512_ternarylogic_epi32(low, _mm512_set1_epi16(0xff), high, 0xea);  // (low & ff) | high
}

template <bool kMinima>
void unpack_strip(const uint8_t* pair, int64_t pairs, Strip& strip) {
  constexpr PlaneWeights kWeights{kMinima};
  for (int64_t p = 0; p < pairs; ++p, pair += kWeights.pair_bytes()) {
    prefetch_ahead(pair, kWeights.pair_bytes());
    for (int64_t half = 0; half < 2; ++half) {
      const BlockCodes codes = Codes4::unpack(pair, half, 0);
      const uint8_t* at = pair + kWeights.digits_at() + half * 2 * kWeights.digit_bytes();
      const PlaneDigits high = plane_digits<kMinima>(at);
      const PlaneDigits low = plane_digits<kMinima>(at + kWeights.digit_bytes());
      std::byte* to = strip.tiles[p][0] + half * 8 * kRowBytes;
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j, to += kRowBytes) {
        const __m512i even = _mm512_and_si512(codes.words[j], _mm512_set1_epi16(0x00ff));
        const __m512i odd = _mm512_andnot_si512(_mm512_set1_epi16(0x00ff), codes.words[j]);
        Vector::store_ints(to, plane_bytes(even, odd, high));
        Vector::store_ints(to + kTileBytes, plane_bytes(even, odd, low));
      }
    }
  }
}

// int32 sums of 16 rows × 16 outputs: high, high · low, low · high.
struct GroupSums {
  alignas(64) int32_t of[3][kTileRows * kPanel];
};

// Part of the inputs, and of the sums' way.
struct Chunk {
  int64_t begin;  // pair
  int64_t pairs;
  bool is_first;
};

void multiply_group(const std::byte* x, const Strip& strip, const Chunk& chunk, GroupSums& sums) {
  if (chunk.is_first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
  } else {
    _tile_loadd(0, sums.of[0], kRowBytes);
    _tile_loadd(1, sums.of[1], kRowBytes);
    _tile_loadd(2, sums.of[2], kRowBytes);
  }
  const std::byte* weights = strip.tiles[0][0];
  for (int64_t p = 0; p < chunk.pairs; ++p, x += TileRows::kPairBytes, weights += 2 * kTileBytes) {
    _tile_loadd(4, x, kRowBytes);
    _tile_loadd(6, weights, kRowBytes);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(7, weights + kTileBytes, kRowBytes);
    _tile_dpbssd(2, 4, 7);
    _tile_loadd(5, x + kTileBytes, kRowBytes);
    _tile_dpbssd(1, 5, 6);
  }
  _tile_stored(0, sums.of[0], kRowBytes);
  _tile_stored(1, sums.of[1], kRowBytes);
  _tile_stored(2, sums.of[2], kRowBytes);
}

void finish_group(const LinearArgs& args, const float* row_units, const GroupSums& sums,
                  int64_t first_row, __m512 units, int64_t panel) {
  const int64_t left = args.rows - first_row;
  for (int64_t r = 0; r < kTileRows && r < left; ++r) {
    const __m512 sum = sum_of(_mm512_load_si512(sums.of[0] + r * kPanel),
                              _mm512_load_si512(sums.of[1] + r * kPanel),
                              _mm512_load_si512(sums.of[2] + r * kPanel));
    finish(args, first_row + r, panel * kPanel,
           _mm512_mul_ps(sum, _mm512_mul_ps(units, _mm512_set1_ps(row_units[r]))));
  }
}

// A panel × groups [first, end) of rows.
template <bool kMinima>
void tile_panel(const LinearArgs& args, const TileRows& layout, int64_t panel, int64_t first,
                int64_t end) {
  constexpr PlaneWeights kWeights{kMinima};
  const auto* data = reinterpret_cast<const uint8_t*>(args.weights.data) +
                     panel * kWeights.panel_bytes(args.weights.inputs);
  const __m512 units = _mm512_loadu_ps(data);
  const int64_t pairs = pairs_of(args.weights.inputs);
  Strip strip;
  GroupSums sums[kGroupsAtOnce];
  for (int64_t begin = 0; begin < pairs; begin += kStripPairs) {
    const int64_t count = pairs - begin < kStripPairs ? pairs - begin : kStripPairs;
    unpack_strip<kMinima>(data + kHeaderBytes + begin * kWeights.pair_bytes(), count, strip);
    memory_fence();
    for (int64_t g = first; g < end; ++g) {
      const std::byte* group = args.x_packed + g * layout.group_bytes();
      multiply_group(group + begin * TileRows::kPairBytes, strip, {begin, count, begin == 0},
                     sums[g - first]);
      memory_fence();
      if (begin + count == pairs)
        finish_group(args, reinterpret_cast<const float*>(group + layout.units_at()),
                     sums[g - first], g * kTileRows, units, panel);
    }
  }
}

template <bool kMinima>
void tile_rows(const LinearArgs& args, Share outputs) {
  static constexpr TileConfig kConfig(kTileRows, 2);
  const TileRows layout{args.weights.inputs, args.rows};
  const int64_t cached = kActivationCacheBytes / layout.group_bytes();
  const int64_t at_once = cached < 1 ? 1 : cached < kGroupsAtOnce ? cached : kGroupsAtOnce;
  _tile_loadconfig(&kConfig);
  for (int64_t first = 0; first < layout.groups(); first += at_once) {
    const int64_t end = first + at_once < layout.groups() ? first + at_once : layout.groups();
    for (int64_t panel = outputs.begin / kPanel; panel * kPanel < outputs.end; ++panel)
      tile_panel<kMinima>(args, layout, panel, first, end);
  }
  _tile_release();
}

template <bool kMinima>
void linear_of(const LinearArgs& args, Share outputs) {
  if (args.rows < kPlaneTileRowsMin)
    few_rows<kMinima>(args, outputs);
  else
    tile_rows<kMinima>(args, outputs);
}

}  // namespace

void linear_planes(const LinearArgs& args, int thread, int threads) {
  const Share outputs = share_of(args.weights.outputs, kPanel, thread, threads);
  if (has_minima(args.weights.type))
    linear_of<true>(args, outputs);
  else
    linear_of<false>(args, outputs);
}

}  // namespace sluice::kernels::amx
