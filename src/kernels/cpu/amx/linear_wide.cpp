// Linear layers of 5-, 6- and 8-bit weights and of 4-bit floats on int8 planes (wide_layout.h):
// exact integers up to the last step, so few rows on the vector unit and many on tiles
// (plane_tiles.inc) give the same bits.
//
// Arithmetic: codes are multiplied to 16 bits, 6 operations for 64 weights, and for tiles cut into
// two planes, 5 more. Few rows: four VPDPBUSD a row on the 16 bits as they lie, over the whole row
// without a scale between; a core has time for 23 operations while memory delivers 64 weights of 8
// bits, for 18 with 6 bits.
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/plane_tiles.inc"
#include "kernels/cpu/amx/wide_layout.h"
#include "kernels/cpu/avx512/vector.h"
// After the vector that they are written in.
#include "kernels/cpu/generic/codes.inc"
#include "kernels/cpu/generic/finish.inc"

namespace sluice::kernels::amx {
namespace {

inline __m512i all_lanes(const std::byte* at) {
  return Vector::load_four_bytes(at);
}

// 16 words, each in both halves of its output's lane.
inline __m512i both_halves(const uint8_t* at) {
  const __m512i index = _mm512_set_epi16(15, 15, 14, 14, 13, 13, 12, 12, 11, 11, 10, 10, 9, 9, 8, 8,
                                         7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
  const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  return _mm512_permutexvar_epi16(index, _mm512_castsi256_si512(words));
}

template <WideFormat kFormat>
using WideCodes = Codes<kFormat.packed()>;

// The multipliers of a block of a panel; `added` is added to every w.
template <WideFormat kFormat>
struct Multipliers {
  __m512i scales[2];  // of vectors 0 … 3 and 4 … 7
  __m512i middle;

  [[gnu::always_inline]] Multipliers(const uint8_t* pair, int half, int added) {
    using Weights = WideWeights<kFormat>;
    for (int i = 0; i < 2; ++i)
      scales[i] =
          both_halves(pair + Weights::kScalesAt +
                      (half * kFormat.scales + i * (kFormat.scales - 1)) * Weights::kWordsBytes);
    middle = _mm512_set1_epi16(static_cast<int16_t>(added));
    if constexpr (kFormat.minima)
      middle = _mm512_add_epi16(
          middle, both_halves(pair + Weights::kMiddlesAt + half * Weights::kWordsBytes));
  }
};

// w + added of 64 codes, of those in even and in odd bytes.
struct Words {
  __m512i even, odd;
};
inline Words words_of(__m512i codes, __m512i scale, __m512i middle) {
  const __m512i even = _mm512_slli_epi16(codes, 8);
  const __m512i odd = _mm512_and_si512(codes, _mm512_set1_epi16(-0x100));
  return {_mm512_add_epi16(_mm512_mulhrs_epi16(even, scale), middle),
          _mm512_add_epi16(_mm512_mulhrs_epi16(odd, scale), middle)};
}

// How plane_tiles.inc reads the weights: w + 128 has the high plane and, its sign inverted, the
// low.
template <WideFormat kFormat>
struct TileWeights : WideWeights<kFormat> {
  static constexpr int32_t kBase = kWideBase;

  static void unpack(const uint8_t* pair, int half, std::byte* to) {
    if (half == 0) prefetch_ahead(pair, WideWeights<kFormat>::kPairBytes);
    const BlockCodes codes = WideCodes<kFormat>::unpack(pair, half, 0);
    const Multipliers<kFormat> block(pair, half, 0x80);
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j, to += kRowBytes) {
      const Words words = words_of(codes.words[j], block.scales[j / 4], block.middle);
      const __m512i high_byte = _mm512_set1_epi16(-0x100);
      const __m512i high = _mm512_ternarylogic_epi32(  // a | b & c
          _mm512_srli_epi16(words.even, 8), words.odd, high_byte, 0xf8);
      const __m512i low = _mm512_ternarylogic_epi32(  // a | b & ~c
          _mm512_slli_epi16(words.odd, 8), words.even, high_byte, 0xf4);
      Vector::store_ints(to, high);
      Vector::store_ints(to + kTileBytes, Vector::flip_sign_bits(low));
    }
  }
};

// The sums of a row.
struct Sums {
  __m512i high, mixed;
};

// Four values of each output × their activations (WideFewRows).
inline void add_words(const Words& words, const std::byte* x, Sums& sums) {
  sums.mixed = Vector::dot(sums.mixed, words.even, all_lanes(x));
  sums.high = Vector::dot(sums.high, words.even, all_lanes(x + 8));
  sums.mixed = Vector::dot(sums.mixed, words.odd, all_lanes(x + 4));
  sums.high = Vector::dot(sums.high, words.odd, all_lanes(x + 12));
}

// Half of a block's vectors, kIndex and kIndex + 4, of kPanels panels × kRows rows, `x` the
// activations of the first.
template <WideFormat kFormat, int kIndex, int kRows, int kPanels>
[[gnu::always_inline]] inline void few_vectors(const uint8_t* const* codes,
                                               const Multipliers<kFormat>* blocks,
                                               const std::byte* x, Sums (*sums)[kRows]) {
#pragma GCC unroll 2
  for (int p = 0; p < kPanels; ++p) {
    const auto two = WideCodes<kFormat>::template two_vectors<kIndex>(codes[p]);
    const Words first = words_of(two.first, blocks[p].scales[0], blocks[p].middle);
    const Words second = words_of(two.second, blocks[p].scales[1], blocks[p].middle);
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r) {
      const std::byte* at = x + r * WideFewRows::kRowBytes + kIndex * 16;
      add_words(first, at, sums[p][r]);
      add_words(second, at + 64, sums[p][r]);
    }
  }
}

// A block of kPanels panels. VPDPBUSD wants unsigned weights: both bytes have 128 added.
template <WideFormat kFormat, int kHalf, int kRows, int kPanels>
[[gnu::always_inline]] inline void few_block(const uint8_t* const* pairs, const std::byte* x,
                                             Sums (*sums)[kRows]) {
  const uint8_t* codes[2];
  for (int p = 0; p < 2; ++p) codes[p] = pairs[p % kPanels] + kHalf * kFormat.bits * 64;
  const Multipliers<kFormat> blocks[2] = {{pairs[0], kHalf, 0x8080},
                                          {pairs[kPanels - 1], kHalf, 0x8080}};
  few_vectors<kFormat, 0, kRows, kPanels>(codes, blocks, x, sums);
  few_vectors<kFormat, 1, kRows, kPanels>(codes, blocks, x, sums);
  few_vectors<kFormat, 2, kRows, kPanels>(codes, blocks, x, sums);
  few_vectors<kFormat, 3, kRows, kPanels>(codes, blocks, x, sums);
}

// All kRows rows × panels `panel`, `panel` + `step`, ….
template <WideFormat kFormat, int kRows, int kPanels>
void few_panels(const LinearArgs& args, int64_t panel, int64_t step) {
  using Weights = WideWeights<kFormat>;
  const WideFewRows layout{args.weights.inputs, kRows};
  const std::byte* starts = args.x_packed + layout.starts_at();
  const uint8_t* data[kPanels];
  const uint8_t* pairs[kPanels];
  Sums sums[kPanels][kRows];
#pragma GCC unroll 2
  for (int p = 0; p < kPanels; ++p) {
    data[p] = reinterpret_cast<const uint8_t*>(args.weights.data) +
              (panel + p * step) * Weights::panel_bytes(args.weights.inputs);
    pairs[p] = data[p] + kHeaderBytes;
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r)
      sums[p][r] = {all_lanes(starts + r * 8), all_lanes(starts + r * 8 + 4)};
  }
  const std::byte* x = args.x_packed;
  const int64_t block_bytes = layout.block_bytes();
  int64_t b = 0;
  for (; b + 2 <= layout.blocks(); b += 2, x += 2 * block_bytes) {
    for (int p = 0; p < kPanels; ++p) prefetch_ahead(pairs[p], Weights::kPairBytes);
    few_block<kFormat, 0, kRows, kPanels>(pairs, x, sums);
    few_block<kFormat, 1, kRows, kPanels>(pairs, x + block_bytes, sums);
    for (int p = 0; p < kPanels; ++p) pairs[p] += Weights::kPairBytes;
  }
  if (b < layout.blocks()) few_block<kFormat, 0, kRows, kPanels>(pairs, x, sums);
  const std::byte* row_units = args.x_packed + layout.units_at();
#pragma GCC unroll 2
  for (int p = 0; p < kPanels; ++p)
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r) {
      const __m512 unit = _mm512_mul_ps(_mm512_loadu_ps(data[p]), broadcast(row_units + r * 4));
      const __m512 sum = sum_of<kWideBase>(sums[p][r].high, sums[p][r].mixed);
      finish(args, r, (panel + p * step) * kPanel, _mm512_mul_ps(sum, unit));
    }
}

// Two streams of weights, as in linear_planes.cpp.
template <WideFormat kFormat, int kRows>
void few_rows(const LinearArgs& args, int thread, int threads) {
  const Share outputs = share_of(args.weights.outputs, kPanel, thread, threads);
  const int64_t begin = outputs.begin / kPanel;
  const int64_t end = (outputs.end + kPanel - 1) / kPanel, half = (end - begin) / 2;
  const Share steps = steps_of(args.portion, end - begin - half);
  for (int64_t i = steps.begin; i < steps.end; ++i)
    if (i < half)
      few_panels<kFormat, kRows, 2>(args, begin + i, half);
    else
      few_panels<kFormat, kRows, 1>(args, end - 1, 0);
}

}  // namespace

void linear_wide(const LinearArgs& args, int thread, int threads) {
  visit_wide(args.weights.type, [&]<WideFormat kFormat>() {
    if (args.rows >= kWideTileRowsMin)
      return linear_tiles<TileWeights<kFormat>>(args, thread, threads);
    if (args.rows == 2) return few_rows<kFormat, 2>(args, thread, threads);
    if (args.rows == 1) return few_rows<kFormat, 1>(args, thread, threads);
  });
}

void gated_wide(const GatedArgs& args, int thread, int threads) {
  visit_wide(args.gate.type, [&]<WideFormat kFormat>() {
    gated_tiles<TileWeights<kFormat>>(args, thread, threads);
  });
}

}  // namespace sluice::kernels::amx
