#include "quantize/encode_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "core/assert.h"
#include "kernels/half.h"
#include "quantize/fit.h"

namespace sluice::quantize {
namespace {

constexpr CodeRange kInt4{-8, 7};
constexpr CodeRange kInt8{-127, 127};
constexpr int64_t kFp8Block = 128;
constexpr float kE4m3Max = 448;

}  // namespace

void encode_int4_row(const float* x, const Int4Row& out) {
  const auto count = static_cast<size_t>(out.group);
  std::vector<float> weights(count), codes(count);
  std::fill_n(out.words, out.columns / 8, 0);
  for (int64_t first = 0; first < out.columns; first += out.group) {
    error_weights(x + first, static_cast<int>(out.group), weights.data());
    const Run run{x + first, weights.data(), static_cast<int>(out.group)};
    const uint16_t stored = kernels::bf16_of_float(fit_scale(run, kInt4));
    out.scales[first / out.group] = stored;
    nearest_codes(run, kernels::float_of_bf16(stored), kInt4, codes.data());
    for (int64_t i = 0; i < out.group; ++i) {
      const auto code = static_cast<uint32_t>(static_cast<int>(codes[static_cast<size_t>(i)]) + 8);
      int32_t& word = out.words[(first + i) / 8];
      word = static_cast<int32_t>(static_cast<uint32_t>(word) | code << ((first + i) % 8 * 4));
    }
  }
}

void encode_int8_row(const float* x, int64_t columns, int8_t* codes, float* scale) {
  const auto count = static_cast<size_t>(columns);
  std::vector<float> weights(count), nearest(count);
  error_weights(x, static_cast<int>(columns), weights.data());
  const Run run{x, weights.data(), static_cast<int>(columns)};
  *scale = fit_scale(run, kInt8);
  nearest_codes(run, *scale, kInt8, nearest.data());
  for (size_t i = 0; i < count; ++i) codes[i] = static_cast<int8_t>(nearest[i]);
}

void encode_fp8_band(const float* x, const Fp8Band& out) {
  ASSERT(out.rows <= kFp8Block, "{} rows", out.rows);
  for (int64_t first = 0; first < out.columns; first += kFp8Block) {
    const int64_t end = std::min(first + kFp8Block, out.columns);
    float largest = 0;
    for (int64_t r = 0; r < out.rows; ++r)
      for (int64_t c = first; c < end; ++c)
        largest = std::max(largest, std::fabs(x[r * out.columns + c]));
    const float scale = largest == 0 ? 1.0f : largest / kE4m3Max;
    out.scales[first / kFp8Block] = scale;
    for (int64_t r = 0; r < out.rows; ++r)
      for (int64_t c = first; c < end; ++c)
        out.codes[r * out.columns + c] = e4m3_of_float(x[r * out.columns + c] / scale);
  }
}

uint8_t e4m3_of_float(float value) {
  constexpr float kSmallestNormal = 0x1p-6f, kSubnormalStep = 0x1p-9f;
  const auto sign = static_cast<uint32_t>(std::signbit(value) ? 0x80 : 0);
  const float magnitude = std::min(std::fabs(value), kE4m3Max);
  if (magnitude < kSmallestNormal)  // 8 is the smallest normal number's code
    return static_cast<uint8_t>(sign |
                                static_cast<uint32_t>(std::nearbyint(magnitude / kSubnormalStep)));
  // Three bits of mantissa are left; a carry goes into the exponent.
  const auto bits = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = bits + 0x7ffffu + (bits >> 20 & 1u);
  return static_cast<uint8_t>(sign | ((rounded >> 20) - (120u << 3)));
}

}  // namespace sluice::quantize
