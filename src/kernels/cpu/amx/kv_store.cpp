#include <immintrin.h>

#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/generic/packed.h"
#include "kernels/kv_layout.h"

namespace sluice::kernels::amx {
namespace {

// Rows of one page may be stored by two threads: a masked store leaves the bytes between alone.

// 16 dimensions' elements of kBytes, each at the bottom of its 4 bytes, as this token's part of the
// values of a run of tokens.
template <int kBytes>
inline void store_values(std::byte* run, int64_t token, __m512i elements) {
  constexpr int64_t kTokens = 4 / kBytes;
  const auto place = static_cast<uint32_t>(token % kTokens) * kBytes;
  const __mmask64 mask = (kBytes == 1 ? 0x1111111111111111u : 0x3333333333333333u) << place;
  _mm512_mask_storeu_epi8(run, mask, _mm512_sll_epi32(elements, _mm_cvtsi64_si128(place * 8)));
}

// Runs of 4 bytes of this token's keys: one of 16 lanes each.
inline void store_keys(std::byte* first_run, __m512i runs, int count) {
  alignas(64) int32_t lanes[16];
  _mm512_store_si512(lanes, runs);
  for (int i = 0; i < count; ++i)
    __builtin_memcpy(first_run + int64_t{i} * kPageTokens * 4, lanes + i, 4);
}

struct HeadPlace {
  std::byte* keys;
  std::byte* values;
  int64_t token;  // of the page
};

void store_bf16(const KvLayer& kv, const HeadPlace& to, const float* k, const float* v) {
  for (int32_t d = 0; d < kv.head_dim; d += kBlock) {
    const __m512i keys =
        (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(k + d + 16), _mm512_loadu_ps(k + d));
    store_keys(to.keys + kv_key_at(kv, d, to.token) * 2, keys, 16);
    for (int32_t i = d; i < d + kBlock; i += 16) {
      const auto values = (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(v + i));
      store_values<2>(to.values + kv_value_at(kv, to.token / 2 * 2, i) * 2, to.token,
                      _mm512_cvtepu16_epi32(values));
    }
  }
}

// As int8_codes() of kernels/kv_int8.h: a multiple of 16 values.
struct Int8Row {
  float scale, inverse;
};
inline Int8Row int8_row(const float* values, int32_t count) {
  __m512 largest = _mm512_setzero_ps();
  __mmask16 bad = 0;
  for (int32_t i = 0; i < count; i += 16) {
    const __m512 size = _mm512_abs_ps(_mm512_loadu_ps(values + i));
    bad |= _mm512_cmp_ps_mask(size, _mm512_set1_ps(3.4e38f), _CMP_NLE_UQ);
    largest = _mm512_max_ps(largest, size);
  }
  if (bad != 0) return {__builtin_nanf(""), 0.0f};
  const float most = _mm512_reduce_max_ps(largest);
  return {most / 127.0f, most > 0 ? 127.0f / most : 0.0f};
}
// One a lane; 0 where the row is not finite.
inline __m512i int8_codes_of(const float* values, const Int8Row& row) {
  if (row.inverse == 0) return _mm512_setzero_si512();
  return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(values), _mm512_set1_ps(row.inverse)));
}

Int8Row store_int8_values(const KvLayer& kv, const HeadPlace& to, const float* v) {
  const Int8Row row = int8_row(v, kv.head_dim);
  for (int32_t d = 0; d < kv.head_dim; d += 16)
    store_values<1>(to.values + kv_value_at(kv, to.token / 4 * 4, d), to.token,
                    _mm512_and_si512(int8_codes_of(v + d, row), _mm512_set1_epi32(0xff)));
  return row;
}
Int8Row store_int8_keys(const KvLayer& kv, const HeadPlace& to, const float* k) {
  const Int8Row row = int8_row(k, kv.head_dim);
  for (int32_t d = 0; d < kv.head_dim; d += 16)
    store_keys(to.keys + kv_key_at(kv, d, to.token),
               _mm512_castsi128_si512(_mm512_cvtepi32_epi8(int8_codes_of(k + d, row))), 4);
  return row;
}

void store_token(const KvStoreArgs& args, const SequenceSpan& span, int64_t row) {
  const KvLayer& kv = args.kv;
  const int64_t position = span.first_position + (row - span.first_row);
  const int32_t page = span.pages[position / kPageTokens];
  const int64_t token = position % kPageTokens;
  for (int32_t h = 0; h < kv.kv_heads; ++h) {
    const int64_t at = (row * kv.kv_heads + h) * kv.head_dim;
    const HeadPlace to{page_keys(kv, page, h), page_values(kv, page, h), token};
    if (kv.format == KvFormat::kBf16) {
      store_bf16(kv, to, args.k + at, args.v + at);
      continue;
    }
    page_key_scales(kv, page, h)[token] = store_int8_keys(kv, to, args.k + at).scale;
    page_value_scales(kv, page, h)[token] = store_int8_values(kv, to, args.v + at).scale;
  }
}

}  // namespace

void kv_store(const KvStoreArgs& args, int thread, int threads) {
  const bool here = args.kv.format == KvFormat::kBf16 ||
                    (args.kv.format == KvFormat::kInt8 && args.kv.head_dim % 16 == 0);
  if (!here) return avx512::kv_store(args, thread, threads);
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
