// Element types of weights and caches, with the size of their blocks.
// Layouts: the GGUF specification (docs/gguf.md of ggml), and those of safetensors, decoded by
// kernels/ref/decode.cpp.
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
  kMXFP4,    // 32 values of e2m1 behind an e8m0 scale
  kF8_B128,  // 128 values of e4m3 behind one f32 scale: rows of DeepSeek's 128×128 FP8 blocks

  // What rows of the 4-bit and 8-bit safetensors formats become at load (model/stored_matrix.h), 32
  // values behind the f32 scale of their group or row; nibbles as in Q4_0.
  kI4_B32,  // scale · (code - 8)
  kI4_Z32,  // scale · (code - zero), the zero a byte behind the scale
  kI8_B32,  // scale · code; all blocks of a row have the row's scale

  // Values of tensors that mean nothing alone: formats of several tensors are put together from
  // them (model/stored_matrix.h), and no kernel reads them.
  kF8_E4M3,
  kI8,
  kU8,
  kI32,
  kI64,
};
inline constexpr int kDTypeCount = 20;        // that decode by themselves
inline constexpr int kStoredDTypeCount = 25;  // that a file may hold

struct DTypeInfo {
  DType type;
  std::string_view name;
  int32_t block_values;  // values in a block
  int32_t block_bytes;   // bytes of a block
  int32_t gguf_id;       // the type's number in a GGUF file; -1: not of GGUF
};

const DTypeInfo& info(DType type);
bool decodes_alone(DType type);
std::optional<DType> dtype_from_gguf(uint32_t gguf_id);
std::optional<DType> dtype_from_name(std::string_view name);

// Bytes of `values` values; values must be whole blocks.
int64_t bytes_of(DType type, int64_t values);

}  // namespace sluice::core
