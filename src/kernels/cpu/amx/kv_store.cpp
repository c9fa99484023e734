#include <immintrin.h>

#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/generic/packed.h"
#include "kernels/kv_layout.h"

namespace sluice::kernels::amx {
namespace {

// 32 values as bf16.
inline void to_bf16(const float* values, uint16_t* out) {
  _mm512_storeu_si512(
      out, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(values + 16), _mm512_loadu_ps(values)));
}

void store_token(const KvStoreArgs& args, const SequenceSpan& span, int64_t row) {
  const KvLayer& kv = args.kv;
  const int64_t position = span.first_position + (row - span.first_row);
  const int32_t page = span.pages[position / kPageTokens];
  const int64_t token = position % kPageTokens;
  for (int32_t h = 0; h < kv.kv_heads; ++h) {
    const int64_t at = (row * kv.kv_heads + h) * kv.head_dim;
    std::byte* keys = page_keys(kv, page, h);
    auto* values = reinterpret_cast<uint16_t*>(page_values(kv, page, h));
    for (int32_t d = 0; d < kv.head_dim; d += kBlock) {
      uint16_t halves[kBlock];
      to_bf16(args.k + at + d, halves);
      for (int64_t i = 0; i < kBlock; i += 2)
        __builtin_memcpy(keys + kv_key_at(kv, d + i, token) * 2, halves + i, 4);
      to_bf16(args.v + at + d, halves);
      for (int64_t i = 0; i < kBlock; ++i) values[kv_value_at(kv, token, d + i)] = halves[i];
    }
  }
}

}  // namespace

void kv_store(const KvStoreArgs& args, int thread, int threads) {
  if (args.kv.format != KvFormat::kBf16) return avx512::kv_store(args, thread, threads);
  const Share rows = share_of(args.rows, 1, thread, threads);
  for (int32_t s = 0; s < args.span_count; ++s) {
    const SequenceSpan& span = args.spans[s];
    const int64_t span_end = span.first_row + span.rows;
    const int64_t begin = rows.begin > span.first_row ? rows.begin : span.first_row;
    const int64_t end = rows.end < span_end ? rows.end : span_end;
    for (int64_t row = begin; row < end; ++row) store_token(args, span, row);
  }
}

}  // namespace sluice::kernels::amx
