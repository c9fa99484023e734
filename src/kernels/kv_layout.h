// Where keys and values lie inside a page. Elements are of KvFormat, for one layer:
//   keys    (kv_heads, head_dim, kPageTokens)   transposed: lanes of a vector are tokens
//   values  (kv_heads, kPageTokens, head_dim)
// and of kBf16 and kInt8, in runs of 4 bytes (2 or 4 elements) along what attention sums over, as
// tiles want their second operand:
//   keys    (kv_heads, head_dim / run, kPageTokens, run)
//   values  (kv_heads, kPageTokens / run, head_dim, run)
// with all keys of the page first. Behind the values of kInt8 lie the scales, float:
//   of keys    (kv_heads, kPageTokens)
//   of values  (kv_heads, kPageTokens)
// Latent attention: (kPageTokens, head_dim), of a row the latent vector first; not in kInt8.
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels {
namespace {

inline int64_t kv_element_bytes(KvFormat format) {
  if (format == KvFormat::kInt8) return 1;
  return format == KvFormat::kF32 ? 4 : 2;
}
// Elements side by side along what attention sums over.
inline int64_t kv_run(KvFormat format) {
  if (format == KvFormat::kBf16) return 2;
  return format == KvFormat::kInt8 ? 4 : 1;
}
// Elements of the keys (or the values) of one head in a page.
inline int64_t kv_head_elements(const KvLayer& kv) {
  return int64_t{kPageTokens} * kv.head_dim;
}
// The element of a head's keys, and of its values.
inline int64_t kv_key_at(const KvLayer& kv, int64_t d, int64_t token) {
  const int64_t run = kv_run(kv.format);
  return (d / run * kPageTokens + token) * run + d % run;
}
inline int64_t kv_value_at(const KvLayer& kv, int64_t token, int64_t d) {
  const int64_t run = kv_run(kv.format);
  return (token / run * kv.head_dim + d) * run + token % run;
}
inline int64_t latent_row_bytes(const KvLayer& kv) {
  return kv.head_dim * kv_element_bytes(kv.format);
}
inline std::byte* latent_page(const KvLayer& kv, int32_t page) {
  return kv.base + int64_t{page} * kPageTokens * latent_row_bytes(kv);
}
// The bytes of all keys (or all values), and of a page.
inline int64_t kv_side_bytes(const KvLayer& kv) {
  return kv.kv_heads * kv_head_elements(kv) * kv_element_bytes(kv.format);
}
inline int64_t kv_scale_bytes(const KvLayer& kv) {
  return kv.format == KvFormat::kInt8 ? int64_t{kv.kv_heads} * kPageTokens * 4 : 0;
}
inline int64_t kv_bytes(const KvLayer& kv) {
  if (kv.latent_rank > 0) return kPageTokens * latent_row_bytes(kv);
  return 2 * (kv_side_bytes(kv) + kv_scale_bytes(kv));
}
inline std::byte* page_keys(const KvLayer& kv, int32_t page, int32_t head) {
  return kv.base + page * kv_bytes(kv) + head * kv_head_elements(kv) * kv_element_bytes(kv.format);
}
inline std::byte* page_values(const KvLayer& kv, int32_t page, int32_t head) {
  return page_keys(kv, page, head) + kv_side_bytes(kv);
}
// Of kInt8: (kPageTokens) each.
inline float* page_key_scales(const KvLayer& kv, int32_t page, int32_t head) {
  return reinterpret_cast<float*>(kv.base + page * kv_bytes(kv) + 2 * kv_side_bytes(kv)) +
         int64_t{head} * kPageTokens;
}
inline float* page_value_scales(const KvLayer& kv, int32_t page, int32_t head) {
  return page_key_scales(kv, page, head) + int64_t{kv.kv_heads} * kPageTokens;
}

}  // namespace
}  // namespace sluice::kernels
