// Where keys and values lie inside a page. Elements are f16 or f32 (KvFormat), for one layer:
//   keys    (kv_heads, head_dim, kPageTokens)   transposed: lanes of a vector are tokens
//   values  (kv_heads, kPageTokens, head_dim)
// with all keys of the page first.
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels {
namespace {

inline int64_t kv_element_bytes(KvFormat format) {
  return format == KvFormat::kF16 ? 2 : 4;
}
// Elements of the keys (or the values) of one head in a page.
inline int64_t kv_head_elements(const KvLayer& kv) {
  return int64_t{kPageTokens} * kv.head_dim;
}
inline int64_t kv_bytes(const KvLayer& kv) {
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
