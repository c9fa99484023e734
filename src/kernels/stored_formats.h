// Quantised matrices that a safetensors checkpoint spreads over several tensors, decoded to floats
// one output row at a time: the definition that loaders and faster forms are tested against.
//
// Sources: compressed-tensors (pack-quantized, int-quantized, mxfp4-pack-quantized), AutoAWQ's gemm
// layout, GPTQ's checkpoint formats v1 and v2, the OCP microscaling specification 1.0.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace sluice::kernels {

// Scale `index` of an array of F32, F16 or BF16.
float load_scale(core::DType type, const std::byte* scales, int64_t index);

// Eight 4-bit codes in each int32. value = (code − zero) · scale of the input's group.
enum class Int4Layout {
  // weight_packed (outputs, inputs / 8), weight_zero_point (outputs / 8, groups), weight_scale
  // (outputs, groups). Code k of a word at bit 4k. No zeros: 8.
  kCompressedTensors,
  // qweight (inputs, outputs / 8), qzeros (groups, outputs / 8), scales (groups, outputs). Code k
  // of a word at bit {0, 16, 4, 20, 8, 24, 12, 28}[k].
  kAwq,
  // qweight (inputs / 8, outputs), qzeros (groups, outputs / 8), scales (groups, outputs). Code k
  // of a word at bit 4k. No zeros: 8.
  kGptq,
};

struct Int4Matrix {
  Int4Layout layout = Int4Layout::kCompressedTensors;
  int64_t outputs = 0;
  int64_t inputs = 0;   // a multiple of 8
  int64_t group = 128;  // inputs that share a scale; divides them
  const int32_t* codes = nullptr;
  const int32_t* zeros = nullptr;  // null: symmetric
  int32_t zero_offset = 0;  // added to stored zeros: 1 in GPTQ's v1, where they are less by 1
  const std::byte* scales = nullptr;
  core::DType scale_type = core::DType::kF16;  // or BF16, F32
  const int32_t* group_of_input = nullptr;     // (inputs), act-order; null: input / group

  int64_t groups() const { return inputs / group; }
};
// What a value is made of: codes 0 to 15, zeros 0 to 16.
int32_t int4_code(const Int4Matrix& matrix, int64_t output, int64_t input);
int32_t int4_zero(const Int4Matrix& matrix, int64_t output, int64_t group);
float int4_scale(const Int4Matrix& matrix, int64_t output, int64_t group);
// out: (inputs). A group_of_input outside [0, groups()) is a bug of the caller's, who read it.
void decode_int4_row(const Int4Matrix& matrix, int64_t output, float* out);

// weight (outputs, inputs), weight_scale (outputs): value = code · scale.
struct Int8Matrix {
  int64_t inputs = 0;
  const int8_t* codes = nullptr;
  const std::byte* scales = nullptr;
  core::DType scale_type = core::DType::kF32;  // or BF16, F16
};
void decode_int8_row(const Int8Matrix& matrix, int64_t output, float* out);

// weight_packed (outputs, inputs / 2): value 2i in the low half of byte i; weight_scale (outputs,
// inputs / 32): 2^(byte − 127), 255 is NaN. Codes are e2m1: sign, then 0, 0.5, 1, 1.5, 2, 3, 4, 6.
struct Mxfp4Matrix {
  int64_t inputs = 0;  // a multiple of 32
  const uint8_t* codes = nullptr;
  const uint8_t* scales = nullptr;
};
void decode_mxfp4_row(const Mxfp4Matrix& matrix, int64_t output, float* out);

}  // namespace sluice::kernels
