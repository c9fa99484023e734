// Rotary position embedding: the angles that each pair of dimensions turns by.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/spec.h"

namespace sluice::model {

// (dims / 2) radians per position, with the spec's scaling applied. `factors` (dims / 2 divisors)
// may be empty. Su et al. 2021; linear: Chen et al. 2023; YaRN: Peng et al. 2023 §3; llama3: the
// wavelength bands of Llama 3.1's configuration.
std::vector<float> rope_frequencies(const RopeSpec& rope, std::span<const float> factors);

// cosines and sines (frequencies.size()) of one position, times the spec's magnitude. The angle is
// the float32 product of position and frequency, as in training.
struct RopeRow {
  float* cosines = nullptr;
  float* sines = nullptr;
};
void rope_row(std::span<const float> frequencies, float magnitude, int32_t position,
              const RopeRow& out);

}  // namespace sluice::model
