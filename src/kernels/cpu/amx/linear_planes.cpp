// Linear layers of 4-bit weights on int8 planes (planes_layout.h): exact integers up to the last
// step, so few rows on the vector unit and many on tiles (plane_tiles.inc) give the same bits.
//
// Arithmetic: weights are unpacked to planes in 50 cycles for a block of 16 outputs. Few rows: a
// block is 8 VPDPBUSD per plane, whose dots fit 16 bits, so that VPDPWSSD multiplies them with s,
// and Σ plane with t, in one.
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/plane_tiles.inc"
#include "kernels/cpu/amx/planes_layout.h"
#include "kernels/cpu/avx512/vector.h"
// After the vector that they are written in.
#include "kernels/cpu/generic/codes.inc"
#include "kernels/cpu/generic/finish.inc"

namespace sluice::kernels::amx {
namespace {

constexpr int kFewAtOnce = 2;

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
      const __m512 sum = sum_of<kBase>(sums[p][r].high, sums[p][r].mixed);
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
  const Share steps = steps_of(args.portion, end - begin - half);
  for (int64_t i = steps.begin; i < steps.end; ++i)
    if (i < half)
      few_rows_of<kMinima, 2>(args, begin + i, half);
    else
      few_rows_of<kMinima, 1>(args, end - 1, 0);
}

// What turns codes to one plane, in 16 bits each: s, and 257 · (t - 8 · s) + 128.
struct PlaneDigits {
  __m512i scale, start;
};

template <bool kMinima>
inline PlaneDigits plane_digits(const uint8_t* at) {
  const auto low_halves = [](__m512i lanes) {
    const __m512i twice = _mm512_set4_epi32(0x0d0c0d0c, 0x09080908, 0x05040504, 0x01000100);
    return _mm512_shuffle_epi8(lanes, twice);
  };
  const __m512i words = digits<kMinima>(at);
  const __m512i start = _mm512_dpwssd_epi32(_mm512_set1_epi32(128), words,
                                            _mm512_set1_epi32(257 * 65536 + (65536 - 8 * 257)));
  return {low_halves(words), low_halves(start)};
}

// Bytes code · s + t, of two codes c + 256 · d in one product: the first byte plus 128 has no sign
// to borrow from the second.
inline __m512i plane_bytes(__m512i codes, const PlaneDigits& digits) {
  const __m512i both = _mm512_add_epi16(_mm512_mullo_epi16(codes, digits.scale), digits.start);
  return _mm512_xor_si512(both, _mm512_set1_epi16(0x80));
}

// How plane_tiles.inc reads the weights.
template <bool kMinima>
struct Weights4 {
  static constexpr PlaneWeights kLayout{kMinima};
  static constexpr int32_t kBase = amx::kBase;
  static constexpr int64_t kPairBytes = kLayout.pair_bytes();
  static constexpr int64_t panel_bytes(int64_t inputs) { return kLayout.panel_bytes(inputs); }

  static void unpack(const uint8_t* pair, int half, std::byte* to) {
    if (half == 0) prefetch_ahead(pair, kPairBytes);
    const BlockCodes codes = Codes4::unpack(pair, half, 0);
    const uint8_t* at = pair + kLayout.digits_at() + half * 2 * kLayout.digit_bytes();
    const PlaneDigits high = plane_digits<kMinima>(at);
    const PlaneDigits low = plane_digits<kMinima>(at + kLayout.digit_bytes());
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j, to += kRowBytes) {
      Vector::store_ints(to, plane_bytes(codes.words[j], high));
      Vector::store_ints(to + kTileBytes, plane_bytes(codes.words[j], low));
    }
  }
};

template <bool kMinima>
void linear_of(const LinearArgs& args, int thread, int threads) {
  if (args.rows < kPlaneTileRowsMin)
    few_rows<kMinima>(args, share_of(args.weights.outputs, kPanel, thread, threads));
  else
    linear_tiles<Weights4<kMinima>>(args, thread, threads);
}

}  // namespace

void linear_planes(const LinearArgs& args, int thread, int threads) {
  if (has_minima(args.weights.type))
    linear_of<true>(args, thread, threads);
  else
    linear_of<false>(args, thread, threads);
}

void gated_planes(const GatedArgs& args, int thread, int threads) {
  if (has_minima(args.gate.type))
    gated_tiles<Weights4<true>>(args, thread, threads);
  else
    gated_tiles<Weights4<false>>(args, thread, threads);
}

}  // namespace sluice::kernels::amx
