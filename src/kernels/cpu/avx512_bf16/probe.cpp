#include "kernels/cpu/avx512_bf16/probe.h"

#include <immintrin.h>

namespace sluice::kernels::avx512_bf16 {

int64_t probe_bf16(int64_t rounds, int32_t* sink) {
  constexpr int kChains = 12;
  const __m512 start = _mm512_set1_ps(static_cast<float>(*sink));
  const __m512bh a = _mm512_cvtne2ps_pbh(start, start);
  __m512 sums[kChains];
  for (int c = 0; c < kChains; ++c) sums[c] = start;
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) sums[c] = _mm512_dpbf16_ps(sums[c], a, a);
  for (int c = 0; c < kChains; ++c) *sink += _mm512_reduce_add_ps(sums[c]) > 1e30f ? 1 : 0;
  return rounds * kChains * 32 * 2;
}

}  // namespace sluice::kernels::avx512_bf16
