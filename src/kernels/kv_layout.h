// Where keys and values lie inside a page. Elements are of KvFormat, for one layer:
//   keys    (kv_heads, head_dim, kPageTokens)   transposed: lanes of a vector are tokens
//   values  (kv_heads, kPageTokens, head_dim)
// and of kBf16, in pairs along what attention sums over, as tiles want their second operand:
//   keys    (kv_heads, head_dim / 2, kPageTokens, 2)
//   values  (kv_heads, kPageTokens / 2, head_dim, 2)
// with all keys of the page first. Latent attention: (kPageTokens, head_dim), of a row the latent
// vector first.
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels {
namespace {

inline int64_t kv_element_bytes(KvFormat format) {
  return format == KvFormat::kF32 ? 4 : 2;
}
// Elements of the keys (or the values) of one head in a page.
inline int64_t kv_head_elements(const KvLayer& kv) {
  return int64_t{kPageTokens} * kv.head_dim;
}
// The element of a head's keys, and of its values.
inline int64_t kv_key_at(const KvLayer& kv, int64_t d, int64_t token) {
  if (kv.format == KvFormat::kBf16) return (d / 2 * kPageTokens + token) * 2 + d % 2;
  return d * kPageTokens + token;
}
inline int64_t kv_value_at(const KvLayer& kv, int64_t token, int64_t d) {
  if (kv.format == KvFormat::kBf16) return (token / 2 * kv.head_dim + d) * 2 + token % 2;
  return token * kv.head_dim + d;
}
inline int64_t latent_row_bytes(const KvLayer& kv) {
  return kv.head_dim * kv_element_bytes(kv.format);
}
inline std::byte* latent_page(const KvLayer& kv, int32_t page) {
  return kv.base + int64_t{page} * kPageTokens * latent_row_bytes(kv);
}
inline int64_t kv_bytes(const KvLayer& kv) {
  if (kv.latent_rank > 0) return kPageTokens * latent_row_bytes(kv);
  return 2 * kv.kv_heads * kv_head_elements(kv) * kv_element_bytes(kv.format);
}
inline std::byte* page_keys(const KvLayer& kv, int32_t page, int32_t head) {
  return kv.base + page * kv_bytes(kv) + head * kv_head_elements(kv) * kv_element_bytes(kv.format);
}
inline std::byte* page_values(const KvLayer& kv, int32_t page, int32_t head) {
  return page_keys(kv, page, head) + kv_bytes(kv) / 2;
}

}  // namespace
}  // namespace sluice::kernels
