#include <immintrin.h>

#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/planes_layout.h"
#include "kernels/cpu/amx/wide_layout.h"

namespace sluice::kernels::amx {
namespace {

// What a row is divided by: its largest value becomes code_max. A row below kSmallest is zero. Four
// maxima at a time, since each waits for the one before.
float unit_of(const float* x, int64_t inputs, float code_max) {
  constexpr float kSmallest = 1e-30f;
  constexpr int kLargerMagnitude = 0b1011;
  const auto larger = [](__m512 a, __m512 b) { return _mm512_range_ps(a, b, kLargerMagnitude); };
  __m512 largest[4];
  for (__m512& some : largest) some = _mm512_setzero_ps();
  int64_t i = 0;
  for (; i + 64 <= inputs; i += 64)
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) largest[j] = larger(largest[j], _mm512_loadu_ps(x + i + j * 16));
  for (; i < inputs; i += 16) largest[0] = larger(largest[0], _mm512_loadu_ps(x + i));
  const float range =
      _mm512_reduce_max_ps(larger(larger(largest[0], largest[1]), larger(largest[2], largest[3])));
  return range < kSmallest ? 0.0f : range / code_max;
}

// The planes of 16 values, one a lane, in digits of base kBase or kWideBase.
struct Planes {
  __m512i high, low;
};
template <int32_t kDigits>
inline Planes planes_of(const float* x, __m512 inverse) {
  const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(x), inverse);
  if constexpr (kDigits == kWideBase) {
    const __m512i code = _mm512_cvtps_epi32(scaled);
    const __m512i high = _mm512_srai_epi32(_mm512_add_epi32(code, _mm512_set1_epi32(128)), 8);
    return {high, _mm512_sub_epi32(code, _mm512_slli_epi32(high, 8))};
  } else {
    const __m512 code = _mm512_roundscale_ps(scaled, 0);
    const __m512i high = _mm512_cvtps_epi32(_mm512_mul_ps(code, _mm512_set1_ps(1.0f / kDigits)));
    const __m512i low = _mm512_sub_epi32(_mm512_cvtps_epi32(code),
                                         _mm512_mullo_epi32(high, _mm512_set1_epi32(kDigits)));
    return {high, low};
  }
}
inline void store_bytes(std::byte* to, __m512i values) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(values));
}

void few_row(const float* x, const FewRows& layout, int64_t row, std::byte* packed) {
  const float unit = unit_of(x, layout.inputs, kCodeMax);
  const __m512 inverse = _mm512_set1_ps(unit == 0 ? 0.0f : 1.0f / unit);
  std::byte* block = packed;
  for (int64_t b = 0; b < layout.blocks(); ++b, x += kBlock, block += layout.block_bytes()) {
    const Planes first = planes_of<kBase>(x, inverse), second = planes_of<kBase>(x + 16, inverse);
    std::byte* to = block + row * 2 * kBlock;
    store_bytes(to, first.high);
    store_bytes(to + 16, second.high);
    store_bytes(to + 32, first.low);
    store_bytes(to + 48, second.low);
    const int32_t high = _mm512_reduce_add_epi32(_mm512_add_epi32(first.high, second.high));
    const int32_t low = _mm512_reduce_add_epi32(_mm512_add_epi32(first.low, second.low));
    auto* starts = reinterpret_cast<int32_t*>(block + layout.starts_at()) + 2 * row;
    starts[0] = high * (65536 - 8) + kSignBit;
    starts[1] = low * (65536 - 8) + kSignBit;
  }
  reinterpret_cast<float*>(packed + layout.units_at())[row] = unit;
}

void wide_few_row(const float* x, const WideFewRows& layout, int64_t row, std::byte* packed) {
  const float unit = unit_of(x, layout.inputs, kWideMax);
  const __m512 inverse = _mm512_set1_ps(unit == 0 ? 0.0f : 1.0f / unit);
  // Of four lanes, 16 bits each: (0, 2) and (1, 3) in the first two.
  const auto halves = [](__m512i words) {
    const __m512i others = _mm512_shuffle_epi32(words, _MM_PERM_BADC);
    return _mm512_or_si512(words, _mm512_slli_epi32(others, 16));
  };
  __m512i high_sums = _mm512_setzero_si512(), low_sums = _mm512_setzero_si512();
  for (int64_t i = 0; i < layout.inputs; i += 16) {
    const Planes planes = planes_of<kWideBase>(x + i, inverse);
    high_sums = _mm512_add_epi32(high_sums, planes.high);
    low_sums = _mm512_add_epi32(low_sums, planes.low);
    const __m512i high = _mm512_and_si512(planes.high, _mm512_set1_epi32(0xff));
    const __m512i low = _mm512_and_si512(planes.low, _mm512_set1_epi32(0xff));
    const __m512i mixed = halves(_mm512_or_si512(high, _mm512_slli_epi32(low, 8)));
    const __m512i alone = halves(_mm512_slli_epi32(high, 8));
    std::byte* to =
        packed + i / kBlock * layout.block_bytes() + row * WideFewRows::kRowBytes + i % kBlock * 4;
    _mm512_storeu_si512(to, _mm512_unpacklo_epi64(mixed, alone));
  }
  const int32_t high = _mm512_reduce_add_epi32(high_sums);
  const int32_t low = _mm512_reduce_add_epi32(low_sums);
  reinterpret_cast<float*>(packed + layout.units_at())[row] = unit;
  auto* starts = reinterpret_cast<int32_t*>(packed + layout.starts_at()) + 2 * row;
  starts[0] = -128 * high;
  starts[1] = -128 * (high + low);
}

// The codes of 32 values in 16 bits, of each 128 bits four of the first 16 and four of the others.
inline __m512i codes_of(const float* x, __m512 inverse) {
  const auto whole = [&](const float* at) {
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(at), inverse));
  };
  return _mm512_packs_epi32(whole(x), whole(x + 16));
}

// high of codes = kDigits · high + low, to the nearest.
template <int32_t kDigits>
inline __m512i high_of(__m512i codes) {
  if constexpr (kDigits == kWideBase)
    return _mm512_srai_epi16(_mm512_add_epi16(codes, _mm512_set1_epi16(128)), 8);
  // No code lies in the middle: the nearest it comes is 1/58, and this is wrong by 1/140 at most.
  constexpr int32_t kInverse = ((1 << 15) + kDigits / 2) / kDigits;
  static_assert(kCodeMax * (kInverse * kDigits - (1 << 15)) * 58 < kDigits << 15);
  return _mm512_mulhrs_epi16(codes, _mm512_set1_epi16(kInverse));
}

// The bytes of 64 words in two such vectors, in the order of the values.
inline __m512i bytes_of(__m512i first, __m512i second) {
  const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  return _mm512_permutexvar_epi32(order, _mm512_packs_epi16(first, second));
}

template <int32_t kDigits>
void tile_row(const float* x, const TileRows& layout, int64_t row, std::byte* packed) {
  const float unit = unit_of(x, layout.inputs, kDigits == kWideBase ? kWideMax : kCodeMax);
  const __m512 inverse = _mm512_set1_ps(unit == 0 ? 0.0f : 1.0f / unit);
  const auto low_of = [](__m512i codes, __m512i high) {
    return _mm512_sub_epi16(codes, _mm512_mullo_epi16(high, _mm512_set1_epi16(kDigits)));
  };
  std::byte* group = packed + row / kTileRows * layout.group_bytes();
  const int64_t slot = row % kTileRows;
  std::byte* to = group + slot * kRowBytes;
  for (int64_t i = 0; i < layout.inputs; i += kPairValues, to += TileRows::kPairBytes) {
    const __m512i first = codes_of(x + i, inverse);
    const __m512i second =
        i + kBlock < layout.inputs ? codes_of(x + i + kBlock, inverse) : _mm512_setzero_si512();
    const __m512i first_high = high_of<kDigits>(first), second_high = high_of<kDigits>(second);
    _mm512_storeu_si512(to, bytes_of(first_high, second_high));
    _mm512_storeu_si512(to + kTileBytes,
                        bytes_of(low_of(first, first_high), low_of(second, second_high)));
  }
  reinterpret_cast<float*>(group + layout.units_at())[slot] = unit;
}

}  // namespace

void quantize_planes(const QuantizeArgs& args, int thread, int threads) {
  const Share rows = share_of(args.rows, 1, thread, threads);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* x = args.x + r * args.inputs;
    const bool is_wide = args.form == ActivationForm::kWidePlanes;
    if (args.rows >= (is_wide ? kWideTileRowsMin : kPlaneTileRowsMin)) {
      const auto row = is_wide ? tile_row<kWideBase> : tile_row<kBase>;
      row(x, {args.inputs, args.rows}, r, args.packed);
    } else if (is_wide) {
      wide_few_row(x, {args.inputs, args.rows}, r, args.packed);
    } else {
      few_row(x, {args.inputs, args.rows}, r, args.packed);
    }
  }
}

}  // namespace sluice::kernels::amx
