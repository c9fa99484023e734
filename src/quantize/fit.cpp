#include "quantize/fit.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/assert.h"

namespace sluice::quantize {
namespace {

// Four values at a time on every processor of the architecture.
using Four = float __attribute__((vector_size(16)));

constexpr int kGridSteps = 20;
constexpr int kAffineGridSteps = 24;
constexpr int kRefinements = 3;

Four load(const float* from) {
  Four values;
  std::memcpy(&values, from, sizeof values);
  return values;
}
Four all(float value) {
  return Four{value, value, value, value};
}
float sum(Four v) {
  return (v[0] + v[1]) + (v[2] + v[3]);
}
// To the nearest integer, ties to even, for |v| < 2^22.
Four rounded(Four v) {
  constexpr float kShift = 12582912.0f;  // 1.5 · 2^23
  return (v + kShift) - kShift;
}
Four clamped(Four v, float low, float high) {
  v = v < low ? all(low) : v;
  return v > high ? all(high) : v;
}

float inverse(float scale) {
  return scale != 0 ? 1 / scale : 0;
}

float largest_magnitude(const Run& run) {
  float largest = 0;
  for (int i = 0; i < run.count; ++i) largest = std::max(largest, std::fabs(run.values[i]));
  return largest;
}

// The least-squares scale of the codes that an inverse scale gives, and how much of the values'
// weighted square it explains.
struct Explained {
  float scale = 0;
  float square = -1;
};
Explained explain(const Run& run, float inverse_scale, CodeRange range) {
  const auto low = static_cast<float>(range.low), high = static_cast<float>(range.high);
  Four value_code = all(0), code_code = all(0);
  for (int i = 0; i < run.count; i += 4) {
    const Four x = load(run.values + i);
    const Four code = clamped(rounded(x * inverse_scale), low, high);
    const Four weighted = load(run.weights + i) * code;
    value_code += weighted * x;
    code_code += weighted * code;
  }
  const float numerator = sum(value_code), denominator = sum(code_code);
  if (!(denominator > 0)) return {};
  return {numerator / denominator, numerator * numerator / denominator};
}

// Sums over a run and its codes, enough for the least-squares scale and minimum and their loss.
struct AffineSums {
  double weight = 0, value = 0, value_value = 0, code = 0, code_code = 0, value_code = 0;
};
AffineSums affine_sums(const Run& run, float inverse_scale, float minimum, float high) {
  Four weight = all(0), value = all(0), value_value = all(0);
  Four code_sum = all(0), code_code = all(0), value_code = all(0);
  for (int i = 0; i < run.count; i += 4) {
    const Four x = load(run.values + i), w = load(run.weights + i);
    const Four code = clamped(rounded((x + minimum) * inverse_scale), 0, high);
    const Four wx = w * x, wc = w * code;
    weight += w;
    value += wx;
    value_value += wx * x;
    code_sum += wc;
    code_code += wc * code;
    value_code += wx * code;
  }
  return {sum(weight),   sum(value),     sum(value_value),
          sum(code_sum), sum(code_code), sum(value_code)};
}

struct AffineCandidate {
  Affine affine;
  double loss = 0;
};
AffineCandidate least_squares(const AffineSums& s, Minimum allowed) {
  double scale = 0, offset = 0;  // value ≈ scale · code + offset
  const double determinant = s.weight * s.code_code - s.code * s.code;
  if (determinant > 1e-12 * s.weight * s.code_code) {
    scale = (s.weight * s.value_code - s.value * s.code) / determinant;
    offset = (s.code_code * s.value - s.code * s.value_code) / determinant;
  } else if (s.weight > 0) {
    offset = s.value / s.weight;
  }
  if (allowed == Minimum::kAtLeastZero && offset > 0) {
    offset = 0;
    scale = s.code_code > 0 ? s.value_code / s.code_code : 0;
  }
  const double loss = s.value_value - 2 * scale * s.value_code - 2 * offset * s.value +
                      scale * scale * s.code_code + 2 * scale * offset * s.code +
                      offset * offset * s.weight;
  return {{static_cast<float>(scale), static_cast<float>(-offset)}, loss};
}

}  // namespace

void error_weights(const float* values, int count, float* out) {
  float square = 0;
  for (int i = 0; i < count; ++i) square += values[i] * values[i];
  const float root_mean_square = std::sqrt(square / static_cast<float>(count));
  for (int i = 0; i < count; ++i) out[i] = root_mean_square + std::fabs(values[i]);
}

float fit_scale(const Run& run, CodeRange codes) {
  DEBUG_ASSERT(run.count % 4 == 0 && codes.low < 0 && codes.high > 0, "{} values", run.count);
  const float largest = largest_magnitude(run);
  if (largest == 0) return 0;
  const auto longest = static_cast<float>(std::max(-codes.low, codes.high));
  // Clipping the largest value pays less the more codes there are.
  const float from = longest - 1.2f * std::sqrt(longest), to = longest + 1;
  Explained best;
  const auto consider = [&](float inverse_scale) {
    const Explained found = explain(run, inverse_scale, codes);
    if (found.square > best.square) best = found;
  };
  for (int step = 0; step <= kGridSteps; ++step) {
    const float levels = from + (to - from) * static_cast<float>(step) / kGridSteps;
    consider(levels / largest);
    if (-codes.low != codes.high) consider(-levels / largest);
  }
  for (int i = 0; i < kRefinements && best.scale != 0; ++i) consider(1 / best.scale);
  return best.scale;
}

Affine fit_affine(const Run& run, int high, Minimum allowed) {
  DEBUG_ASSERT(run.count % 4 == 0 && high > 0, "{} values", run.count);
  const auto [least, most] = std::minmax_element(run.values, run.values + run.count);
  const float low = allowed == Minimum::kAtLeastZero ? std::min(*least, 0.0f) : *least;
  const float extent = *most - low;
  const auto codes = static_cast<float>(high);
  AffineCandidate best = least_squares(affine_sums(run, 0, 0, codes), allowed);  // all codes 0
  if (!(extent > 0)) return best.affine;
  const auto consider = [&](float inverse_scale, float minimum) {
    const auto found = least_squares(affine_sums(run, inverse_scale, minimum, codes), allowed);
    if (found.affine.scale > 0 && found.loss < best.loss) best = found;
  };
  for (int step = 0; step <= kAffineGridSteps; ++step) {
    const float levels = codes + 1.5f - 4.0f * static_cast<float>(step) / kAffineGridSteps;
    consider(levels / extent, -low);
  }
  for (int i = 0; i < kRefinements && best.affine.scale > 0; ++i)
    consider(1 / best.affine.scale, best.affine.minimum);
  return best.affine;
}

void nearest_codes(const Run& run, float scale, CodeRange codes, float* out) {
  const auto low = static_cast<float>(codes.low), high = static_cast<float>(codes.high);
  const float inverse_scale = inverse(scale);
  for (int i = 0; i < run.count; i += 4) {
    const Four code = clamped(rounded(load(run.values + i) * inverse_scale), low, high);
    std::memcpy(out + i, &code, sizeof code);
  }
}

void nearest_codes(const Run& run, Affine affine, int high, float* out) {
  const float inverse_scale = inverse(affine.scale);
  for (int i = 0; i < run.count; i += 4) {
    const Four x = load(run.values + i);
    const Four code =
        clamped(rounded((x + affine.minimum) * inverse_scale), 0, static_cast<float>(high));
    std::memcpy(out + i, &code, sizeof code);
  }
}

float loss(const Run& run, float scale, CodeRange codes) {
  const auto low = static_cast<float>(codes.low), high = static_cast<float>(codes.high);
  const float inverse_scale = inverse(scale);
  Four total = all(0);
  for (int i = 0; i < run.count; i += 4) {
    const Four x = load(run.values + i);
    const Four error = x - scale * clamped(rounded(x * inverse_scale), low, high);
    total += load(run.weights + i) * error * error;
  }
  return sum(total);
}

float loss(const Run& run, Affine affine, int high) {
  const float inverse_scale = inverse(affine.scale);
  Four total = all(0);
  for (int i = 0; i < run.count; i += 4) {
    const Four x = load(run.values + i) + affine.minimum;
    const Four code = clamped(rounded(x * inverse_scale), 0, static_cast<float>(high));
    const Four error = x - affine.scale * code;
    total += load(run.weights + i) * error * error;
  }
  return sum(total);
}

}  // namespace sluice::quantize
