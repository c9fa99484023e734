#include "kernels/stored_formats.h"

#include <cmath>
#include <limits>

#include "core/assert.h"
#include "kernels/e2m1.h"
#include "kernels/half.h"

namespace sluice::kernels {

using core::DType;

namespace {

constexpr int kWordCodes = 8;
constexpr int kAwqShift[kWordCodes] = {0, 16, 4, 20, 8, 24, 12, 28};
constexpr int32_t kSymmetricZero = 8;
constexpr int64_t kMxfp4Group = 32;

int32_t code_at(const int32_t* words, int64_t word, int shift) {
  return static_cast<int32_t>(static_cast<uint32_t>(words[word]) >> shift & 15u);
}
int plain_shift(int64_t index) {
  return static_cast<int>(index % kWordCodes) * 4;
}
int awq_shift(int64_t index) {
  return kAwqShift[index % kWordCodes];
}

}  // namespace

float load_scale(DType type, const std::byte* scales, int64_t index) {
  if (type == DType::kF32) {
    float value;
    std::memcpy(&value, scales + index * 4, sizeof value);
    return value;
  }
  const uint16_t half = load_u16(scales + index * 2);
  return type == DType::kF16 ? float_of_f16(half) : float_of_bf16(half);
}

int32_t int4_code(const Int4Matrix& m, int64_t output, int64_t input) {
  switch (m.layout) {
    case Int4Layout::kCompressedTensors:
      return code_at(m.codes, (output * m.inputs + input) / kWordCodes, plain_shift(input));
    case Int4Layout::kAwq:
      return code_at(m.codes, (input * m.outputs + output) / kWordCodes, awq_shift(output));
    case Int4Layout::kGptq:
      return code_at(m.codes, input / kWordCodes * m.outputs + output, plain_shift(input));
  }
  return 0;
}

int32_t int4_zero(const Int4Matrix& m, int64_t output, int64_t group) {
  if (m.zeros == nullptr) return kSymmetricZero;
  switch (m.layout) {
    case Int4Layout::kCompressedTensors:
      return code_at(m.zeros, output / kWordCodes * m.groups() + group, plain_shift(output)) +
             m.zero_offset;
    case Int4Layout::kAwq:
      return code_at(m.zeros, (group * m.outputs + output) / kWordCodes, awq_shift(output)) +
             m.zero_offset;
    case Int4Layout::kGptq:
      return code_at(m.zeros, (group * m.outputs + output) / kWordCodes, plain_shift(output)) +
             m.zero_offset;
  }
  return 0;
}

float int4_scale(const Int4Matrix& m, int64_t output, int64_t group) {
  const int64_t index = m.layout == Int4Layout::kCompressedTensors ? output * m.groups() + group
                                                                   : group * m.outputs + output;
  return load_scale(m.scale_type, m.scales, index);
}

void decode_int4_row(const Int4Matrix& m, int64_t output, float* out) {
  for (int64_t input = 0; input < m.inputs; ++input) {
    const int64_t group = m.group_of_input != nullptr ? m.group_of_input[input] : input / m.group;
    DEBUG_ASSERT(group >= 0 && group < m.groups(), "group {} of {}", group, m.groups());
    const int32_t zero = int4_zero(m, output, group);
    out[input] =
        static_cast<float>(int4_code(m, output, input) - zero) * int4_scale(m, output, group);
  }
}

void decode_int8_row(const Int8Matrix& m, int64_t output, float* out) {
  const float scale = load_scale(m.scale_type, m.scales, output);
  const int8_t* codes = m.codes + output * m.inputs;
  for (int64_t i = 0; i < m.inputs; ++i) out[i] = static_cast<float>(codes[i]) * scale;
}

void decode_mxfp4_row(const Mxfp4Matrix& m, int64_t output, float* out) {
  const uint8_t* codes = m.codes + output * m.inputs / 2;
  const uint8_t* scales = m.scales + output * m.inputs / kMxfp4Group;
  for (int64_t i = 0; i < m.inputs; ++i) {
    const uint8_t exponent = scales[i / kMxfp4Group];
    const float scale = exponent == 255 ? std::numeric_limits<float>::quiet_NaN()
                                        : std::ldexp(1.0f, exponent - 128);
    const int code = codes[i / 2] >> (i % 2 * 4) & 15;
    const auto magnitude = static_cast<float>(kTwiceE2m1[static_cast<size_t>(code & 7)]);
    out[i] = (code < 8 ? magnitude : -magnitude) * scale;  // -0 is a code of its own
  }
}

}  // namespace sluice::kernels
