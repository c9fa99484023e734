// Values that stand in for a model's where only speed matters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/dtype.h"

namespace sluice::apps {

// Near normal, variance 1, from a seed.
std::vector<float> random_values(uint64_t seed, int64_t count);

// Whole blocks of `type` with bounded scales, always the same ones: a random pattern of a few MiB,
// repeated.
std::vector<std::byte> random_weights(core::DType type, int64_t values);

}  // namespace sluice::apps
