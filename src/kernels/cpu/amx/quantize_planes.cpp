#include <immintrin.h>

#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/planes_layout.h"

namespace sluice::kernels::amx {
namespace {

// What a row is divided by: its largest value becomes kCodeMax. A row below kSmallest is zero.
float unit_of(const float* x, int64_t inputs) {
  constexpr float kSmallest = 1e-30f;
  __m512 largest = _mm512_setzero_ps();
  for (int64_t i = 0; i < inputs; i += 16)
    largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
  const float range = _mm512_reduce_max_ps(largest);
  return range < kSmallest ? 0.0f : range / kCodeMax;
}

// The planes of 16 values, one a lane.
struct Planes {
  __m512i high, low;
};
inline Planes planes_of(const float* x, __m512 inverse) {
  const __m512 code = _mm512_roundscale_ps(_mm512_mul_ps(_mm512_loadu_ps(x), inverse), 0);
  const __m512i high = _mm512_cvtps_epi32(_mm512_mul_ps(code, _mm512_set1_ps(1.0f / kBase)));
  const __m512i low = _mm512_sub_epi32(_mm512_cvtps_epi32(code),
                                       _mm512_mullo_epi32(high, _mm512_set1_epi32(kBase)));
  return {high, low};
}
inline void store_bytes(std::byte* to, __m512i values) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(values));
}

void few_row(const float* x, const FewRows& layout, int64_t row, std::byte* packed) {
  const float unit = unit_of(x, layout.inputs);
  const __m512 inverse = _mm512_set1_ps(unit == 0 ? 0.0f : 1.0f / unit);
  std::byte* block = packed;
  for (int64_t b = 0; b < layout.blocks(); ++b, x += kBlock, block += layout.block_bytes()) {
    const Planes first = planes_of(x, inverse), second = planes_of(x + 16, inverse);
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

void tile_row(const float* x, const TileRows& layout, int64_t row, std::byte* packed) {
  const float unit = unit_of(x, layout.inputs);
  const __m512 inverse = _mm512_set1_ps(unit == 0 ? 0.0f : 1.0f / unit);
  std::byte* group = packed + row / kTileRows * layout.group_bytes();
  const int64_t slot = row % kTileRows;
  for (int64_t i = 0; i < layout.inputs; i += 16) {
    const Planes planes = planes_of(x + i, inverse);
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
    if (args.rows < kPlaneTileRowsMin)
      few_row(x, {args.inputs, args.rows}, r, args.packed);
    else
      tile_row(x, {args.inputs, args.rows}, r, args.packed);
  }
}

}  // namespace sluice::kernels::amx
