#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/tiles.h"

namespace sluice::kernels::amx {
namespace {

// The first `count` of 16 floats at p, the others 0.
inline __m512 load_some(const float* p, int64_t count) {
  if (count >= 16) return _mm512_loadu_ps(p);
  if (count <= 0) return _mm512_setzero_ps();
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p);
}

inline float sum_of(__m512i values) {
  const __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(values, 16));
  const __m512 odd =
      _mm512_castsi512_ps(_mm512_and_si512(values, _mm512_set1_epi32(static_cast<int>(~0xffffu))));
  return _mm512_reduce_add_ps(_mm512_add_ps(even, odd));
}

// One row into its slot; x null: zeros.
void store_row(const float* x, const TileActivations& layout, int64_t row, std::byte* packed) {
  const int64_t slots = layout.slots(), slot = row % slots;
  std::byte* group = packed + row / slots * layout.group_bytes();
  auto* sums = reinterpret_cast<float*>(group + layout.sums_at());
  const __m512i order = _mm512_load_si512(kTileOrder.value_at);
  for (int64_t block = 0; block < layout.blocks(); ++block) {
    __m512i values = _mm512_setzero_si512();
    if (x != nullptr) {
      const int64_t left = layout.inputs - block * kBlock;
      const float* from = x + block * kBlock;
      const __m512bh both =
          _mm512_cvtne2ps_pbh(load_some(from + 16, left - 16), load_some(from, left));
      values = _mm512_permutexvar_epi16(order, (__m512i)both);
    }
    const int64_t at = block * slots + slot;
    _mm512_storeu_si512(group + at * kRowBytes, values);
    sums[at] = sum_of(values);
  }
}

}  // namespace

void quantize_activations(const QuantizeArgs& args, int thread, int threads) {
  const TileActivations layout{args.inputs, args.rows};
  const Share rows = share_of(args.rows, 1, thread, threads);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    store_row(args.x + row * args.inputs, layout, row, args.packed);
  if (rows.begin == rows.end || rows.end != args.rows) return;
  for (int64_t row = args.rows; row < layout.groups() * layout.slots(); ++row)
    store_row(nullptr, layout, row, args.packed);
}

}  // namespace sluice::kernels::amx
