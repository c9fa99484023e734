#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/assert.h"

namespace sluice::model {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

// The (fractional) pair that makes `rotations` turns over the original context.
double yarn_pair(const RopeSpec& rope, double rotations) {
  return rope.dims * std::log(rope.original_context / (rotations * kTwoPi)) /
         (2 * std::log(rope.base));
}

double yarn_frequency(const RopeSpec& rope, double frequency, int32_t pair) {
  const double low = std::max(0.0, std::floor(yarn_pair(rope, rope.beta_fast)));
  const double high = std::min(rope.dims - 1.0, std::ceil(yarn_pair(rope, rope.beta_slow)));
  const double ramp = std::clamp((pair - low) / std::max(0.001, high - low), 0.0, 1.0);
  const double kept = (1 - ramp) * rope.extrapolation;
  return frequency / rope.factor * (1 - kept) + frequency * kept;
}

double llama3_frequency(const RopeSpec& rope, double frequency) {
  const double wavelength = kTwoPi / frequency;
  if (wavelength < rope.original_context / rope.high_frequency_factor) return frequency;
  if (wavelength > rope.original_context / rope.low_frequency_factor)
    return frequency / rope.factor;
  const double smooth = (rope.original_context / wavelength - rope.low_frequency_factor) /
                        (rope.high_frequency_factor - rope.low_frequency_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

double scaled(const RopeSpec& rope, double frequency, int32_t pair) {
  switch (rope.scaling) {
    case RopeScaling::kNone:
      return frequency;
    case RopeScaling::kLinear:
      return frequency / rope.factor;
    case RopeScaling::kLlama3:
      return llama3_frequency(rope, frequency);
    case RopeScaling::kYarn:
      return yarn_frequency(rope, frequency, pair);
  }
  return frequency;
}

}  // namespace

std::vector<float> rope_frequencies(const RopeSpec& rope, std::span<const float> factors) {
  const int32_t pairs = rope.dims / 2;
  ASSERT(factors.empty() || factors.size() == static_cast<size_t>(pairs), "{} factors, {} pairs",
         factors.size(), pairs);
  std::vector<float> frequencies;
  for (int32_t pair = 0; pair < pairs; ++pair) {
    double frequency = std::pow(rope.base, -2.0 * pair / rope.dims);
    if (!factors.empty()) frequency /= static_cast<double>(factors[static_cast<size_t>(pair)]);
    frequencies.push_back(static_cast<float>(scaled(rope, frequency, pair)));
  }
  return frequencies;
}

void rope_row(std::span<const float> frequencies, float magnitude, int32_t position,
              const RopeRow& out) {
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double angle = static_cast<float>(position) * frequencies[i];
    out.cosines[i] = magnitude * static_cast<float>(std::cos(angle));
    out.sines[i] = magnitude * static_cast<float>(std::sin(angle));
  }
}

}  // namespace sluice::model
