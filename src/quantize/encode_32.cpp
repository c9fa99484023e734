// Types with one scale in f16 for 32 values.
#include <array>
#include <cmath>
#include <cstring>

#include "kernels/half.h"
#include "quantize/block_encoders.h"
#include "quantize/fit.h"

namespace sluice::quantize {
namespace {

using Codes = std::array<float, kBlock>;

// A scale is stored in f16: what it becomes there.
float store_f16(uint8_t* to, float value) {
  const uint16_t half = kernels::f16_of_float(value);
  kernels::store_u16(to, half);
  return kernels::float_of_f16(half);
}

struct WeightedBlock {
  explicit WeightedBlock(const float* x) : values(x) { error_weights(x, kBlock, weights.data()); }
  Run run() const { return {values, weights.data(), kBlock}; }

  const float* values;
  std::array<float, kBlock> weights;
};

// Stores the scale and gives the codes that are nearest with what it became.
Codes encode_symmetric(const float* x, CodeRange range, uint8_t* scale) {
  const WeightedBlock block(x);
  Codes codes;
  const float stored = store_f16(scale, fit_scale(block.run(), range));
  nearest_codes(block.run(), stored, range, codes.data());
  return codes;
}

Codes encode_affine(const float* x, int high, uint8_t* scale_minimum) {
  const WeightedBlock block(x);
  const Affine best = fit_affine(block.run(), high, Minimum::kAny);
  Affine stored;
  stored.scale = store_f16(scale_minimum, best.scale);
  stored.minimum = -store_f16(scale_minimum + 2, -best.minimum);
  Codes codes;
  nearest_codes(block.run(), stored, high, codes.data());
  return codes;
}

// The low nibbles of byte i hold value i, the high ones value i + 16.
void pack_nibbles(const Codes& codes, int offset, uint8_t* out) {
  for (size_t i = 0; i < 16; ++i) {
    const int low = static_cast<int>(codes[i]) + offset;
    const int high = static_cast<int>(codes[i + 16]) + offset;
    out[i] = static_cast<uint8_t>((low & 15) | (high & 15) << 4);
  }
}

// The fifth bit of value i is bit i of a little-endian word.
void pack_fifth_bits(const Codes& codes, int offset, uint8_t* out) {
  std::memset(out, 0, 4);
  for (size_t i = 0; i < kBlock; ++i) {
    const int bit = (static_cast<int>(codes[i]) + offset) >> 4 & 1;
    out[i / 8] = static_cast<uint8_t>(out[i / 8] | bit << (i % 8));
  }
}

}  // namespace

void encode_q4_0(const float* x, uint8_t* block) {
  pack_nibbles(encode_symmetric(x, {-8, 7}, block), 8, block + 2);
}

void encode_q4_1(const float* x, uint8_t* block) {
  pack_nibbles(encode_affine(x, 15, block), 0, block + 4);
}

void encode_q5_0(const float* x, uint8_t* block) {
  const Codes codes = encode_symmetric(x, {-16, 15}, block);
  pack_fifth_bits(codes, 16, block + 2);
  pack_nibbles(codes, 16, block + 6);
}

void encode_q5_1(const float* x, uint8_t* block) {
  const Codes codes = encode_affine(x, 31, block);
  pack_fifth_bits(codes, 0, block + 4);
  pack_nibbles(codes, 0, block + 8);
}

void encode_q8_0(const float* x, uint8_t* block) {
  const Codes codes = encode_symmetric(x, {-127, 127}, block);
  for (size_t i = 0; i < kBlock; ++i)
    block[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(codes[i]));
}

}  // namespace sluice::quantize
