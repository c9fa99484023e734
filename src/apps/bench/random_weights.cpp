#include "apps/bench/random_weights.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/rng.h"
#include "kernels/half.h"

namespace sluice::apps {
namespace {

using core::DType;

constexpr uint64_t kSeed = 42;
constexpr int64_t kPatternValues = int64_t{1} << 22;  // whole blocks of every type

// Of types whose blocks begin with a float: the same for all blocks of a row, and no product of it
// is subnormal, which a processor multiplies slowly.
constexpr float kScale = 1.0f / 64;

constexpr std::byte kExponent{121};  // the same, of MXFP4

bool begins_with_float(DType type) {
  return type == DType::kI8_B32 || type == DType::kI4_B32 || type == DType::kI4_Z32 ||
         type == DType::kF8_B128;
}

// Plain floats are random values; of blocks every bit is random but bit 6 of each byte, which
// bounds the scales of 16 bits.
void fill(DType type, int64_t values, std::byte* out) {
  if (core::info(type).block_values > 1) {
    core::Rng rng(kSeed);
    for (int64_t i = 0; i < core::bytes_of(type, values); ++i)
      out[i] = static_cast<std::byte>(rng.bits() & 0xbf);
    const int64_t step = core::info(type).block_bytes;
    if (begins_with_float(type))
      for (int64_t i = 0; i < core::bytes_of(type, values); i += step)
        std::memcpy(out + i, &kScale, sizeof kScale);
    if (type == DType::kMXFP4)
      for (int64_t i = 0; i < core::bytes_of(type, values); i += step) out[i] = kExponent;
    return;
  }
  for (const float value : random_values(kSeed, values)) {
    const auto bits = std::bit_cast<uint32_t>(value);
    if (type == DType::kF32) std::memcpy(out, &bits, sizeof bits);
    if (type == DType::kBF16) kernels::store_u16(out, static_cast<uint16_t>(bits >> 16));
    if (type == DType::kF16) kernels::store_u16(out, kernels::f16_of_float(value));
    out += core::info(type).block_bytes;
  }
}

}  // namespace

std::vector<float> random_values(uint64_t seed, int64_t count) {
  core::Rng rng(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values)  // a sum of uniforms
    v = static_cast<float>((rng.unit() + rng.unit() + rng.unit() - 1.5) * 2);
  return values;
}

std::vector<std::byte> random_weights(DType type, int64_t values) {
  std::vector<std::byte> bytes(static_cast<size_t>(core::bytes_of(type, values)));
  const auto pattern = static_cast<size_t>(core::bytes_of(type, std::min(values, kPatternValues)));
  fill(type, std::min(values, kPatternValues), bytes.data());
  for (size_t at = pattern; at < bytes.size(); at += pattern)
    std::memcpy(bytes.data() + at, bytes.data(), std::min(pattern, bytes.size() - at));
  return bytes;
}

}  // namespace sluice::apps
