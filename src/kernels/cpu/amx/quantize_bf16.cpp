#include <immintrin.h>

#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/tile_layout.h"

namespace sluice::kernels::amx {
namespace {

// The first `count` of 16 floats at p, the others 0.
inline __m512 load_some(const float* p, int64_t count) {
  if (count >= 16) return _mm512_loadu_ps(p);
  if (count <= 0) return _mm512_setzero_ps();
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p);
}

// One row into its slot; x null: zeros.
void store_row(const float* x, const TileActivations& layout, int64_t row, std::byte* packed) {
  const int64_t slots = layout.slots();
  std::byte* out = packed + row / slots * layout.group_bytes() + row % slots * kRowBytes;
  for (int64_t at = 0; at < layout.inputs; at += kBlock, out += layout.block_bytes()) {
    __m512i values = _mm512_setzero_si512();
    if (x != nullptr) {
      const int64_t left = layout.inputs - at;
      values =
          (__m512i)_mm512_cvtne2ps_pbh(load_some(x + at + 16, left - 16), load_some(x + at, left));
    }
    _mm512_storeu_si512(out, values);
  }
}

}  // namespace

void quantize_bf16(const QuantizeArgs& args, int thread, int threads) {
  const TileActivations layout{args.inputs, args.rows};
  const Share rows = share_of(args.rows, 1, thread, threads);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    store_row(args.x + row * args.inputs, layout, row, args.packed);
  if (rows.begin == rows.end || rows.end != args.rows) return;
  for (int64_t row = args.rows; row < layout.groups() * layout.slots(); ++row)
    store_row(nullptr, layout, row, args.packed);
}

}  // namespace sluice::kernels::amx
