// Super-blocks: sub-blocks whose scales are themselves quantised against one or two f16 numbers.
//
// Each sub-block is fitted on its own; the f16 numbers follow from the largest of them; then each
// sub-block takes the best of the quantised scales around its own, and the f16 numbers are solved
// again for all codes together.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "kernels/half.h"
#include "quantize/block_encoders.h"
#include "quantize/fit.h"

namespace sluice::quantize {
namespace {

float through_f16(float value) {
  return kernels::float_of_f16(kernels::f16_of_float(value));
}

using Codes = std::array<float, kSuperBlock>;

// From `best`, by turns: the f16 numbers solved for all codes, then each sub-block's best scales;
// while that lessens the loss.
template <typename Fitter, typename Block>
Block improved(const Fitter& fitter, Block best) {
  constexpr int kRounds = 3;
  fitter.choose_neighbours(&best);
  float best_loss = fitter.total_loss(best);
  for (int i = 0; i < kRounds; ++i) {
    Block next = fitter.solved(best);
    fitter.choose_neighbours(&next);
    const float next_loss = fitter.total_loss(next);
    if (!(next_loss < best_loss)) break;
    best = next;
    best_loss = next_loss;
  }
  return best;
}

// ---- Q4_K, Q5_K: 8 sub-blocks of 32, value ≈ d · scale · code − dmin · minimum -----------------

constexpr int kSubBlocks = 8;
constexpr int kScaleMax = 63;

struct AffineBlock {
  float d = 0;
  float dmin = 0;
  std::array<int, kSubBlocks> scale{};    // 6 bits
  std::array<int, kSubBlocks> minimum{};  // 6 bits
};

class AffineFitter {
 public:
  AffineFitter(const float* x, int code_max) : x_(x), code_max_(code_max) {
    for (int j = 0; j < kSubBlocks; ++j)
      error_weights(x + j * kBlock, kBlock, weights_.data() + j * kBlock);
  }

  AffineBlock fit() const {
    std::array<Affine, kSubBlocks> own;
    float scale_max = 0, minimum_max = 0;
    for (int j = 0; j < kSubBlocks; ++j) {
      own[index(j)] = fit_affine(run(j), code_max_, Minimum::kAtLeastZero);
      scale_max = std::max(scale_max, own[index(j)].scale);
      minimum_max = std::max(minimum_max, own[index(j)].minimum);
    }
    AffineBlock best;
    best.d = through_f16(scale_max / kScaleMax);
    best.dmin = through_f16(minimum_max / kScaleMax);
    for (int j = 0; j < kSubBlocks; ++j) {
      best.scale[index(j)] = near(own[index(j)].scale, best.d);
      best.minimum[index(j)] = near(own[index(j)].minimum, best.dmin);
    }
    return improved(*this, best);
  }

  void codes(const AffineBlock& block, float* out) const {
    for (int j = 0; j < kSubBlocks; ++j)
      nearest_codes(run(j), affine(block, j), code_max_, out + j * kBlock);
  }

 private:
  template <typename Fitter, typename Block>
  friend Block improved(const Fitter& fitter, Block best);

  static size_t index(int j) { return static_cast<size_t>(j); }
  static int near(float value, float unit) {
    if (!(unit > 0)) return 0;
    return std::clamp(static_cast<int>(std::lround(value / unit)), 0, kScaleMax);
  }
  Run run(int j) const { return {x_ + j * kBlock, weights_.data() + j * kBlock, kBlock}; }
  static Affine affine(const AffineBlock& block, int j) {
    return {block.d * static_cast<float>(block.scale[index(j)]),
            block.dmin * static_cast<float>(block.minimum[index(j)])};
  }

  float total_loss(const AffineBlock& block) const {
    float total = 0;
    for (int j = 0; j < kSubBlocks; ++j) total += loss(run(j), affine(block, j), code_max_);
    return total;
  }

  void choose_neighbours(AffineBlock* block) const {
    for (int j = 0; j < kSubBlocks; ++j) {
      const int scale = block->scale[index(j)], minimum = block->minimum[index(j)];
      int best_scale = scale, best_minimum = minimum;
      float best = loss(run(j), affine(*block, j), code_max_);
      for (int s = std::max(scale - 1, 0); s <= std::min(scale + 1, kScaleMax); ++s)
        for (int m = std::max(minimum - 1, 0); m <= std::min(minimum + 1, kScaleMax); ++m) {
          const float found =
              loss(run(j), {block->d * static_cast<float>(s), block->dmin * static_cast<float>(m)},
                   code_max_);
          if (found < best) {
            best = found;
            best_scale = s;
            best_minimum = m;
          }
        }
      block->scale[index(j)] = best_scale;
      block->minimum[index(j)] = best_minimum;
    }
  }

  // The least-squares d and dmin of all codes, the quantised scales and minima staying.
  AffineBlock solved(const AffineBlock& block) const {
    Codes code;
    codes(block, code.data());
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;  // a = scale · code, b = −minimum
    for (int i = 0; i < kSuperBlock; ++i) {
      const size_t j = index(i / kBlock);
      const double a = block.scale[j] * double{code[index(i)]}, b = -block.minimum[j];
      const double w = weights_[index(i)];
      aa += w * a * a;
      ab += w * a * b;
      bb += w * b * b;
      ax += w * a * x_[i];
      bx += w * b * x_[i];
    }
    AffineBlock next = block;
    const double determinant = aa * bb - ab * ab;
    if (determinant > 1e-9 * aa * bb) {
      next.d = through_f16(static_cast<float>((ax * bb - bx * ab) / determinant));
      next.dmin = through_f16(static_cast<float>((bx * aa - ax * ab) / determinant));
    } else if (aa > 0) {
      next.d = through_f16(static_cast<float>((ax + block.dmin * -ab) / aa));
    }
    return next.d > 0 && next.dmin >= 0 ? next : block;
  }

  const float* x_;
  const int code_max_;
  std::array<float, kSuperBlock> weights_;
};

// The 6-bit scales and minima of 8 sub-blocks in 12 bytes.
void pack_scales(const AffineBlock& block, uint8_t* out) {
  for (size_t j = 0; j < 4; ++j) {
    const int high_scale = block.scale[j + 4], high_minimum = block.minimum[j + 4];
    out[j] = static_cast<uint8_t>(block.scale[j] | high_scale >> 4 << 6);
    out[j + 4] = static_cast<uint8_t>(block.minimum[j] | high_minimum >> 4 << 6);
    out[j + 8] = static_cast<uint8_t>((high_scale & 15) | (high_minimum & 15) << 4);
  }
}

// Sub-blocks 2k and 2k + 1 share 32 bytes: low and high nibbles.
void pack_nibbles(const Codes& codes, uint8_t* out) {
  for (size_t i = 0; i < kSuperBlock / 2; ++i) {
    const size_t low = i / kBlock * 2 * kBlock + i % kBlock;
    out[i] = static_cast<uint8_t>((static_cast<int>(codes[low]) & 15) |
                                  (static_cast<int>(codes[low + kBlock]) & 15) << 4);
  }
}

// ---- Q6_K: 16 sub-blocks of 16, value ≈ d · scale · code ----------------------------------------

constexpr int kSixSubBlocks = 16;
constexpr int kSixRun = 16;
constexpr CodeRange kSixBits = {-32, 31};

struct SymmetricBlock {
  float d = 0;
  std::array<int, kSixSubBlocks> scale{};  // 8 bits, signed
};

class SymmetricFitter {
 public:
  explicit SymmetricFitter(const float* x) : x_(x) {
    for (int j = 0; j < kSixSubBlocks; ++j)
      error_weights(x + j * kSixRun, kSixRun, weights_.data() + j * kSixRun);
  }

  SymmetricBlock fit() const {
    std::array<float, kSixSubBlocks> own;
    float largest = 0;  // with its sign, so that it becomes −128
    for (int j = 0; j < kSixSubBlocks; ++j) {
      own[index(j)] = fit_scale(run(j), kSixBits);
      if (std::fabs(own[index(j)]) > std::fabs(largest)) largest = own[index(j)];
    }
    SymmetricBlock best;
    best.d = through_f16(largest / -128);
    if (best.d == 0) return best;
    for (int j = 0; j < kSixSubBlocks; ++j)
      best.scale[index(j)] =
          std::clamp(static_cast<int>(std::lround(own[index(j)] / best.d)), -128, 127);
    return improved(*this, best);
  }

  void codes(const SymmetricBlock& block, float* out) const {
    for (int j = 0; j < kSixSubBlocks; ++j)
      nearest_codes(run(j), scale(block, j), kSixBits, out + j * kSixRun);
  }

 private:
  template <typename Fitter, typename Block>
  friend Block improved(const Fitter& fitter, Block best);

  static size_t index(int j) { return static_cast<size_t>(j); }
  Run run(int j) const { return {x_ + j * kSixRun, weights_.data() + j * kSixRun, kSixRun}; }
  static float scale(const SymmetricBlock& block, int j) {
    return block.d * static_cast<float>(block.scale[index(j)]);
  }

  float total_loss(const SymmetricBlock& block) const {
    float total = 0;
    for (int j = 0; j < kSixSubBlocks; ++j) total += loss(run(j), scale(block, j), kSixBits);
    return total;
  }

  void choose_neighbours(SymmetricBlock* block) const {
    for (int j = 0; j < kSixSubBlocks; ++j) {
      const int middle = block->scale[index(j)];
      float best = loss(run(j), scale(*block, j), kSixBits);
      for (int s = std::max(middle - 1, -128); s <= std::min(middle + 1, 127); ++s) {
        const float found = loss(run(j), block->d * static_cast<float>(s), kSixBits);
        if (found < best) {
          best = found;
          block->scale[index(j)] = s;
        }
      }
    }
  }

  SymmetricBlock solved(const SymmetricBlock& block) const {
    Codes code;
    codes(block, code.data());
    double aa = 0, ax = 0;  // a = scale · code
    for (int i = 0; i < kSuperBlock; ++i) {
      const double a = block.scale[index(i / kSixRun)] * double{code[index(i)]};
      aa += double{weights_[index(i)]} * a * a;
      ax += double{weights_[index(i)]} * a * x_[i];
    }
    SymmetricBlock next = block;
    if (aa > 0) next.d = through_f16(static_cast<float>(ax / aa));
    return next;
  }

  const float* x_;
  std::array<float, kSuperBlock> weights_;
};

}  // namespace

void encode_q4_k(const float* x, uint8_t* block) {
  const AffineFitter fitter(x, 15);
  const AffineBlock fitted = fitter.fit();
  kernels::store_u16(block, kernels::f16_of_float(fitted.d));
  kernels::store_u16(block + 2, kernels::f16_of_float(fitted.dmin));
  pack_scales(fitted, block + 4);
  Codes codes;
  fitter.codes(fitted, codes.data());
  pack_nibbles(codes, block + 16);
}

void encode_q5_k(const float* x, uint8_t* block) {
  const AffineFitter fitter(x, 31);
  const AffineBlock fitted = fitter.fit();
  kernels::store_u16(block, kernels::f16_of_float(fitted.d));
  kernels::store_u16(block + 2, kernels::f16_of_float(fitted.dmin));
  pack_scales(fitted, block + 4);
  Codes codes;
  fitter.codes(fitted, codes.data());
  uint8_t* fifth_bits = block + 16;  // bit j of byte i: value i of sub-block j
  std::memset(fifth_bits, 0, kBlock);
  for (size_t i = 0; i < kSuperBlock; ++i) {
    const int bit = static_cast<int>(codes[i]) >> 4 & 1;
    fifth_bits[i % kBlock] = static_cast<uint8_t>(fifth_bits[i % kBlock] | bit << (i / kBlock));
  }
  pack_nibbles(codes, block + 48);
}

void encode_q6_k(const float* x, uint8_t* block) {
  const SymmetricFitter fitter(x);
  const SymmetricBlock fitted = fitter.fit();
  Codes codes;
  fitter.codes(fitted, codes.data());
  std::memset(block, 0, 192);
  uint8_t *low_bits = block, *high_bits = block + 128;
  for (size_t i = 0; i < kSuperBlock; ++i) {
    const int code = static_cast<int>(codes[i]) + 32;
    const size_t half = i / 128, plane = i % 128 / 32;
    uint8_t& low = low_bits[half * 64 + i % 64];
    uint8_t& high = high_bits[half * 32 + i % 32];
    low = static_cast<uint8_t>(low | (code & 15) << (plane / 2 * 4));
    high = static_cast<uint8_t>(high | code >> 4 << (2 * plane));
  }
  for (size_t j = 0; j < kSixSubBlocks; ++j)
    block[192 + j] = static_cast<uint8_t>(static_cast<int8_t>(fitted.scale[j]));
  kernels::store_u16(block + 208, kernels::f16_of_float(fitted.d));
}

}  // namespace sluice::quantize
