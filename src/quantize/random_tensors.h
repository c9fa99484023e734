// What random models say of themselves and what their tensors hold, whatever file they go into.
#pragma once

#include <cstdint>
#include <vector>

#include "formats/gguf_writer.h"
#include "plan/geometry.h"

namespace sluice::quantize {

inline constexpr float kWeightDeviation = 0.02f;
inline constexpr int64_t kPatternValues = int64_t{1} << 20;

// GGUF's keys of the geometry; no vocabulary.
void set_metadata(const plan::Geometry& geometry, formats::GgufWriter* writer);

std::vector<float> normals(uint64_t seed, int64_t count, float mean, float deviation);

// Norms, routers, biases and choice biases: each tensor its own values.
std::vector<float> drawn_values(const plan::Geometry& geometry, const plan::GeometryTensor& tensor,
                                double router_skew, uint64_t seed);

}  // namespace sluice::quantize
