#include "quantize/random_blocks.h"

#include <cmath>
#include <cstring>

#include "core/assert.h"
#include "core/math.h"
#include "core/rng.h"
#include "kernels/half.h"
#include "quantize/random_tensors.h"

namespace sluice::quantize {
namespace {

using core::DType;

void fill_codes(core::Rng& rng, uint8_t* to, int count) {
  for (int i = 0; i < count; ++i) to[i] = static_cast<uint8_t>(rng.bits() >> 56);
}

// A scale under which codes of this root mean square have the deviation of weights; it varies from
// block to block by a fifth at most (root mean square 1.0067).
float scale_of(core::Rng& rng, double codes) {
  return static_cast<float>(kWeightDeviation / codes * (0.8 + 0.4 * rng.unit()) / 1.0067);
}

void store_scale(uint8_t* to, float scale) {
  kernels::store_u16(to, kernels::f16_of_float(scale));
}

// d · scale · code − dmin · minimum: the minimum's code is the scale's, and dmin = 1.5 d puts the
// middle of the codes 0 to 3 at 0. Scales 8 to 15 (mean square 137.5), codes − 1.5 (1.25).
void fill_q2_k(core::Rng& rng, uint8_t* block) {
  for (int i = 0; i < 16; ++i) block[i] = static_cast<uint8_t>(17 * (8 + rng.below(8)));
  fill_codes(rng, block + 16, 64);
  const float d = scale_of(rng, std::sqrt(137.5 * 1.25));
  store_scale(block + 80, d);
  store_scale(block + 82, 1.5f * d);
}

// Scales −32 to 31 (mean square 341.5), codes −4 to 3 (5.5).
void fill_q3_k(core::Rng& rng, uint8_t* block) {
  fill_codes(rng, block, 108);
  store_scale(block + 108, scale_of(rng, std::sqrt(341.5 * 5.5)));
}

constexpr double kNonLinearSquare = 4548;  // of the sixteen values of IQ4, mean

// The values' mean is below 0: half of the scales are, too.
void fill_iq4_nl(core::Rng& rng, uint8_t* block) {
  const float scale = scale_of(rng, std::sqrt(kNonLinearSquare));
  store_scale(block, rng.below(2) == 0 ? scale : -scale);
  fill_codes(rng, block + 2, 16);
}

void fill_iq4_xs(core::Rng& rng, uint8_t* block) {
  store_scale(block, scale_of(rng, std::sqrt(341.5 * kNonLinearSquare)));
  fill_codes(rng, block + 2, 134);
}

// Codes of e2m1 (mean square 8.5625) under powers of two: 2^-7 in 685 of 1,000 blocks, else 2^-8.
void fill_mxfp4(core::Rng& rng, uint8_t* block) {
  block[0] = static_cast<uint8_t>(rng.unit() < 0.685 ? 127 - 7 : 127 - 8);
  fill_codes(rng, block + 1, 16);
}

struct Filler {
  DType type;
  void (*fill_block)(core::Rng& rng, uint8_t* block);
};
constexpr Filler kFillers[] = {{DType::kQ3_K, fill_q3_k},
                               {DType::kQ2_K, fill_q2_k},
                               {DType::kIQ4_NL, fill_iq4_nl},
                               {DType::kIQ4_XS, fill_iq4_xs},
                               {DType::kMXFP4, fill_mxfp4}};

const Filler* find(DType type) {
  for (const Filler& f : kFillers)
    if (f.type == type) return &f;
  return nullptr;
}

}  // namespace

bool has_random_blocks(DType type) {
  return find(type) != nullptr;
}

std::string random_block_types() {
  std::string names;
  for (const Filler& f : kFillers) {
    if (!names.empty()) names += ", ";
    names += core::info(f.type).name;
  }
  return names;
}

void fill_random_blocks(DType type, uint64_t seed, std::span<std::byte> blocks) {
  const Filler* filler = find(type);
  ASSERT(filler != nullptr, "no random blocks of {}", core::info(type).name);
  core::Rng rng(seed);
  auto* out = reinterpret_cast<uint8_t*>(blocks.data());
  const int64_t bytes = core::info(type).block_bytes;
  for (int64_t block = 0; block < core::div_exact(std::ssize(blocks), bytes); ++block)
    filler->fill_block(rng, out + block * bytes);
}

}  // namespace sluice::quantize
