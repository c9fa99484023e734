// Decoding of every element type. Layouts: ggml's block definitions (the GGUF specification names
// them); the arithmetic, its order and its roundings are those of the gguf Python package, which
// tests/kernels/decode_test.cpp compares bit for bit.
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "core/math.h"
#include "kernels/e2m1.h"
#include "kernels/half.h"
#include "kernels/ops.h"

namespace sluice::kernels {
namespace {

using core::DType;

constexpr int kBlock = 32;
constexpr int kSuperBlock = 256;

void decode_f32(const uint8_t* block, float* out) {
  std::memcpy(out, block, sizeof(float));
}
float load_f32(const uint8_t* from) {
  float value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

void decode_f16(const uint8_t* block, float* out) {
  *out = load_f16(block);
}
void decode_bf16(const uint8_t* block, float* out) {
  *out = float_of_bf16(load_u16(block));
}

// f16 scale, 16 bytes of nibbles: low ones are values 0–15, high ones 16–31.
void decode_q4_0(const uint8_t* block, float* out) {
  const float scale = load_f16(block);
  for (int i = 0; i < 16; ++i) {
    const int byte = block[2 + i];
    out[i] = scale * static_cast<float>((byte & 15) - 8);
    out[i + 16] = scale * static_cast<float>((byte >> 4) - 8);
  }
}

// f16 scale, f16 minimum, nibbles as Q4_0.
void decode_q4_1(const uint8_t* block, float* out) {
  const float scale = load_f16(block), minimum = load_f16(block + 2);
  for (int i = 0; i < 16; ++i) {
    const int byte = block[4 + i];
    out[i] = scale * static_cast<float>(byte & 15) + minimum;
    out[i + 16] = scale * static_cast<float>(byte >> 4) + minimum;
  }
}

// The fifth bit of value i is bit i of a little-endian word.
int code_5bit(const uint8_t* high_bits, const uint8_t* nibbles, int i) {
  const int low = i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;
  return low | (high_bits[i / 8] >> (i % 8) & 1) << 4;
}

void decode_q5_0(const uint8_t* block, float* out) {
  const float scale = load_f16(block);
  for (int i = 0; i < kBlock; ++i)
    out[i] = scale * static_cast<float>(code_5bit(block + 2, block + 6, i) - 16);
}

void decode_q5_1(const uint8_t* block, float* out) {
  const float scale = load_f16(block), minimum = load_f16(block + 2);
  for (int i = 0; i < kBlock; ++i)
    out[i] = scale * static_cast<float>(code_5bit(block + 4, block + 8, i)) + minimum;
}

void decode_q8_0(const uint8_t* block, float* out) {
  const float scale = load_f16(block);
  for (int i = 0; i < kBlock; ++i)
    out[i] = scale * static_cast<float>(static_cast<int8_t>(block[2 + i]));
}

// 16 bytes of (4-bit scale, 4-bit minimum), 64 bytes of 2-bit codes, f16 d, f16 dmin.
void decode_q2_k(const uint8_t* block, float* out) {
  const uint8_t* codes = block + 16;
  const float d = load_f16(block + 80), dmin = load_f16(block + 82);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int half = i / 128, plane = i % 128 / 32;
    const uint8_t scale_min = block[i / 16];
    const float scale = d * static_cast<float>(scale_min & 15);
    const float minimum = dmin * static_cast<float>(scale_min >> 4);
    const int code = codes[half * 32 + i % 32] >> (2 * plane) & 3;
    out[i] = scale * static_cast<float>(code) - minimum;
  }
}

// 32 bytes of third bits, 64 bytes of 2-bit codes, 12 bytes of sixteen 6-bit scales, f16 d.
void decode_q3_k(const uint8_t* block, float* out) {
  const uint8_t *high_bits = block, *codes = block + 32, *scales = block + 96;
  const float d = load_f16(block + 108);
  std::array<float, 16> scale;
  for (int s = 0; s < 16; ++s) {
    const int low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4;
    const int high = scales[8 + s % 4] >> (2 * (s / 4)) & 3;
    scale[static_cast<size_t>(s)] = d * static_cast<float>((low | high << 4) - 32);
  }
  for (int i = 0; i < kSuperBlock; ++i) {
    const int half = i / 128, plane = i % 128 / 32;
    const int low = codes[half * 32 + i % 32] >> (2 * plane) & 3;
    const int high = high_bits[i % 32] >> (half * 4 + plane) & 1;
    out[i] = scale[static_cast<size_t>(i / 16)] * static_cast<float>(low - (high != 0 ? 0 : 4));
  }
}

// The 6-bit scale and minimum of sub-block j of Q4_K and Q5_K, packed in 12 bytes.
std::pair<int, int> scale_and_minimum(const uint8_t* packed, int j) {
  if (j < 4) return {packed[j] & 63, packed[j + 4] & 63};
  return {(packed[j + 4] & 15) | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4};
}

// f16 d, f16 dmin, 12 bytes of scales and minima, 128 bytes of nibbles (32 values low, 32 high).
void decode_q4_k(const uint8_t* block, float* out) {
  const float d = load_f16(block), dmin = load_f16(block + 2);
  const uint8_t* nibbles = block + 16;
  for (int j = 0; j < 8; ++j) {
    const auto [s, m] = scale_and_minimum(block + 4, j);
    const float scale = d * static_cast<float>(s), minimum = dmin * static_cast<float>(m);
    for (int i = 0; i < kBlock; ++i) {
      const int code = nibbles[j / 2 * 32 + i] >> (j % 2 * 4) & 15;
      out[j * kBlock + i] = scale * static_cast<float>(code) - minimum;
    }
  }
}

// As Q4_K with 32 bytes of fifth bits before the nibbles: bit j of byte i for sub-block j.
void decode_q5_k(const uint8_t* block, float* out) {
  const float d = load_f16(block), dmin = load_f16(block + 2);
  const uint8_t *high_bits = block + 16, *nibbles = block + 48;
  for (int j = 0; j < 8; ++j) {
    const auto [s, m] = scale_and_minimum(block + 4, j);
    const float scale = d * static_cast<float>(s), minimum = dmin * static_cast<float>(m);
    for (int i = 0; i < kBlock; ++i) {
      const int low = nibbles[j / 2 * 32 + i] >> (j % 2 * 4) & 15;
      const int code = low | (high_bits[i] >> j & 1) << 4;
      out[j * kBlock + i] = scale * static_cast<float>(code) - minimum;
    }
  }
}

// 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales, f16 d.
void decode_q6_k(const uint8_t* block, float* out) {
  const uint8_t *low_bits = block, *high_bits = block + 128, *scales = block + 192;
  const float d = load_f16(block + 208);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int half = i / 128, plane = i % 128 / 32;
    const int low = low_bits[half * 64 + i % 64] >> (plane / 2 * 4) & 15;
    const int high = high_bits[half * 32 + i % 32] >> (2 * plane) & 3;
    const float scale = d * static_cast<float>(static_cast<int8_t>(scales[i / 16]));
    out[i] = scale * static_cast<float>((low | high << 4) - 32);
  }
}

constexpr std::array<int8_t, 16> kNonLinear = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};

void decode_nonlinear(float scale, const uint8_t* nibbles, float* out) {
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>(kNonLinear[nibbles[i] & 15]);
    out[i + 16] = scale * static_cast<float>(kNonLinear[nibbles[i] >> 4]);
  }
}

void decode_iq4_nl(const uint8_t* block, float* out) {
  decode_nonlinear(load_f16(block), block + 2, out);
}

// f16 d, high bit pairs of eight 6-bit scales, their low nibbles, 128 bytes of nibbles.
void decode_iq4_xs(const uint8_t* block, float* out) {
  const float d = load_f16(block);
  const int high_bits = load_u16(block + 2);
  for (int j = 0; j < 8; ++j) {
    const int low = block[4 + j / 2] >> (j % 2 * 4) & 15;
    const int high = high_bits >> (2 * j) & 3;
    decode_nonlinear(d * static_cast<float>((low | high << 4) - 32), block + 8 + j * 16,
                     out + j * kBlock);
  }
}

// 1 sign, 4 exponent, 3 mantissa bits, bias 7; no infinities, 0x7f and 0xff are NaN (OCP 8-bit
// floating point, 2023).
float float_of_e4m3(uint8_t code) {
  const uint32_t sign = uint32_t{code & 0x80u} << 24;
  const uint32_t magnitude = code & 0x7fu;
  if (magnitude == 0x7f) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (magnitude < 8) {  // subnormal: magnitude · 2^-9
    const float value = static_cast<float>(magnitude) * 0x1.0p-9f;
    return sign != 0 ? -value : value;
  }
  return std::bit_cast<float>(sign | ((magnitude << 20) + (120u << 23)));
}

void decode_f8_b128(const uint8_t* block, float* out) {
  const float scale = load_f32(block);
  for (int i = 0; i < 128; ++i) out[i] = float_of_e4m3(block[4 + i]) * scale;
}

// e8m0 scale, nibbles as Q4_0. A scale of 255 is NaN (OCP microscaling formats, 2023).
void decode_mxfp4(const uint8_t* block, float* out) {
  const float scale =
      block[0] == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, block[0] - 128);
  for (size_t i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>(kTwiceE2m1[block[1 + i] & 15]);
    out[i + 16] = scale * static_cast<float>(kTwiceE2m1[block[1 + i] >> 4]);
  }
}

void decode_nibbles(float scale, int zero, const uint8_t* nibbles, float* out) {
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>((nibbles[i] & 15) - zero) * scale;
    out[i + 16] = static_cast<float>((nibbles[i] >> 4) - zero) * scale;
  }
}
void decode_i4_b32(const uint8_t* block, float* out) {
  decode_nibbles(load_f32(block), 8, block + 4, out);
}
void decode_i4_z32(const uint8_t* block, float* out) {
  decode_nibbles(load_f32(block), block[4], block + 5, out);
}
void decode_i8_b32(const uint8_t* block, float* out) {
  const float scale = load_f32(block);
  for (int i = 0; i < kBlock; ++i)
    out[i] = static_cast<float>(static_cast<int8_t>(block[4 + i])) * scale;
}

template <void (*kDecodeBlock)(const uint8_t*, float*), int kValues, int kBytes>
void decode_blocks(const uint8_t* block, int64_t values, float* out) {
  for (int64_t i = 0; i < values; i += kValues, block += kBytes) kDecodeBlock(block, out + i);
}

}  // namespace

void decode(DType type, const std::byte* blocks, int64_t values, float* out) {
  const auto* from = reinterpret_cast<const uint8_t*>(blocks);
  DEBUG_ASSERT(values % core::info(type).block_values == 0, "{} values of {}", values,
               core::info(type).name);
  switch (type) {
    case DType::kF32:
      return decode_blocks<decode_f32, 1, 4>(from, values, out);
    case DType::kF16:
      return decode_blocks<decode_f16, 1, 2>(from, values, out);
    case DType::kBF16:
      return decode_blocks<decode_bf16, 1, 2>(from, values, out);
    case DType::kQ4_0:
      return decode_blocks<decode_q4_0, 32, 18>(from, values, out);
    case DType::kQ4_1:
      return decode_blocks<decode_q4_1, 32, 20>(from, values, out);
    case DType::kQ5_0:
      return decode_blocks<decode_q5_0, 32, 22>(from, values, out);
    case DType::kQ5_1:
      return decode_blocks<decode_q5_1, 32, 24>(from, values, out);
    case DType::kQ8_0:
      return decode_blocks<decode_q8_0, 32, 34>(from, values, out);
    case DType::kQ2_K:
      return decode_blocks<decode_q2_k, 256, 84>(from, values, out);
    case DType::kQ3_K:
      return decode_blocks<decode_q3_k, 256, 110>(from, values, out);
    case DType::kQ4_K:
      return decode_blocks<decode_q4_k, 256, 144>(from, values, out);
    case DType::kQ5_K:
      return decode_blocks<decode_q5_k, 256, 176>(from, values, out);
    case DType::kQ6_K:
      return decode_blocks<decode_q6_k, 256, 210>(from, values, out);
    case DType::kIQ4_NL:
      return decode_blocks<decode_iq4_nl, 32, 18>(from, values, out);
    case DType::kIQ4_XS:
      return decode_blocks<decode_iq4_xs, 256, 136>(from, values, out);
    case DType::kMXFP4:
      return decode_blocks<decode_mxfp4, 32, 17>(from, values, out);
    case DType::kI4_B32:
      return decode_blocks<decode_i4_b32, 32, 20>(from, values, out);
    case DType::kI4_Z32:
      return decode_blocks<decode_i4_z32, 32, 21>(from, values, out);
    case DType::kI8_B32:
      return decode_blocks<decode_i8_b32, 32, 36>(from, values, out);
    case DType::kF8_B128:
      return decode_blocks<decode_f8_b128, 128, 132>(from, values, out);
    case DType::kF8_E4M3:
    case DType::kI8:
    case DType::kU8:
    case DType::kI32:
    case DType::kI64:
      ASSERT(false, "{} does not decode alone", core::info(type).name);
  }
}

}  // namespace sluice::kernels
