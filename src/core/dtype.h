// Element types of weights and caches, with the size of their blocks.
// Layouts: the GGUF specification (docs/gguf.md of ggml), decoded by kernels/ref/decode.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice::core {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
};
inline constexpr int kDTypeCount = 15;

struct DTypeInfo {
  DType type;
  std::string_view name;
  int32_t block_values;  // values in a block
  int32_t block_bytes;   // bytes of a block
  int32_t gguf_id;       // the type's number in a GGUF file
};

const DTypeInfo& info(DType type);
std::optional<DType> dtype_from_gguf(uint32_t gguf_id);
std::optional<DType> dtype_from_name(std::string_view name);

// Bytes of `values` values; values must be whole blocks.
int64_t bytes_of(DType type, int64_t values);

}  // namespace sluice::core
