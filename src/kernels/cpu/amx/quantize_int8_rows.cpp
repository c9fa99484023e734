#include <immintrin.h>

#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/tile_layout.h"

namespace sluice::kernels::amx {
namespace {

constexpr float kSmallest = 1e-30f;  // a row below it is zero

// The first `count` of 16 floats at p, the others 0.
inline __m512 load_some(const float* p, int64_t count) {
  if (count >= 16) return _mm512_loadu_ps(p);
  if (count <= 0) return _mm512_setzero_ps();
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p);
}

// One row into its slot: its largest value becomes 127.
void store_row(const float* x, const TileActivations& layout, int64_t row, std::byte* packed) {
  __m512 largest = _mm512_setzero_ps();
  for (int64_t i = 0; i < layout.inputs; i += 16)
    largest = _mm512_max_ps(largest, _mm512_abs_ps(load_some(x + i, layout.inputs - i)));
  const float range = _mm512_reduce_max_ps(largest);
  const bool is_zero = range < kSmallest;
  const __m512 inverse = _mm512_set1_ps(is_zero ? 0.0f : 127.0f / range);
  const int64_t slots = layout.slots();
  std::byte* out = packed + row / slots * layout.group_bytes() + row % slots * kRowBytes;
  for (int64_t block = 0; block < layout.blocks(); ++block, out += layout.block_bytes())
    for (int64_t i = 0; i < kInt8TileValues; i += 16) {
      const int64_t at = block * kInt8TileValues + i;
      const __m512 values = _mm512_mul_ps(load_some(x + at, layout.inputs - at), inverse);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i),
                       _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(values)));
    }
  reinterpret_cast<float*>(packed + layout.scales_at())[row] = is_zero ? 0.0f : range / 127.0f;
}

}  // namespace

void quantize_int8_rows(const QuantizeArgs& args, int thread, int threads) {
  const TileActivations layout{args.inputs, args.rows, kInt8TileValues};
  const Share rows = share_of(args.rows, 1, thread, threads);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    store_row(args.x + row * args.inputs, layout, row, args.packed);
  if (rows.begin == rows.end || rows.end != args.rows) return;
  const int64_t slots = layout.slots();
  for (int64_t row = args.rows; row < layout.groups() * slots; ++row) {
    std::byte* out = args.packed + row / slots * layout.group_bytes() + row % slots * kRowBytes;
    for (int64_t block = 0; block < layout.blocks(); ++block, out += layout.block_bytes())
      _mm512_storeu_si512(out, _mm512_setzero_si512());
  }
}

}  // namespace sluice::kernels::amx
