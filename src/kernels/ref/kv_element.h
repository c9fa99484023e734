// One value of a KV page; of int8 its code.
#pragma once

#include <cstring>

#include "kernels/half.h"
#include "kernels/ops.h"

namespace sluice::kernels::ref {
namespace {

inline float load_element(KvFormat format, const std::byte* from, int64_t index) {
  if (format == KvFormat::kF16) return load_f16(from + index * 2);
  if (format == KvFormat::kBf16) return float_of_bf16(load_u16(from + index * 2));
  if (format == KvFormat::kInt8) return static_cast<float>(static_cast<int8_t>(from[index]));
  float value;
  std::memcpy(&value, from + index * 4, sizeof value);
  return value;
}

inline void store_element(KvFormat format, std::byte* to, int64_t index, float value) {
  if (format == KvFormat::kF16) return store_u16(to + index * 2, f16_of_float(value));
  if (format == KvFormat::kBf16) return store_u16(to + index * 2, bf16_of_float(value));
  std::memcpy(to + index * 4, &value, sizeof value);
}

}  // namespace
}  // namespace sluice::kernels::ref
