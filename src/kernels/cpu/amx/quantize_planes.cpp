#include <immintrin.h>

#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/planes_layout.h"
#include "kernels/cpu/amx/wide_layout.h"

namespace sluice::kernels::amx {
namespace {

// What a row is divided by: its largest value becomes code_max. A row below kSmallest is zero.
float unit_of(const float* x, int64_t inputs, float code_max) {
  constexpr float kSmallest = 1e-30f;
  __m512 largest = _mm512_setzero_ps();
  for (int64_t i = 0; i < inputs; i += 16)
    largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
  const float range = _mm512_reduce_max_ps(largest);
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

template <int32_t kDigits>
void tile_row(const float* x, const TileRows& layout, int64_t row, std::byte* packed) {
  const float unit = unit_of(x, layout.inputs, kDigits == kWideBase ? kWideMax : kCodeMax);
  const __m512 inverse = _mm512_set1_ps(unit == 0 ? 0.0f : 1.0f / unit);
  std::byte* group = packed + row / kTileRows * layout.group_bytes();
  const int64_t slot = row % kTileRows;
  for (int64_t i = 0; i < layout.inputs; i += 16) {
    const Planes planes = planes_of<kDigits>(x + i, inverse);
    std::byte* to =
        group + i / kPairValues * TileRows::kPairBytes + slot * kRowBytes + i % kPairValues;
    store_bytes(to, planes.high);
    store_bytes(to + kTileBytes, planes.low);
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
