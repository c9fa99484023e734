// Models of random weights at the shapes of published ones: speed does not depend on what weights
// say.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/result.h"
#include "formats/checkpoint.h"
#include "plan/geometry.h"

namespace sluice::quantize {

struct SynthesisOptions {
  std::string path{};  // of the GGUF file
  core::DType rest = core::DType::kQ8_0;
  core::DType experts = core::DType::kQ4_0;
  core::DType output = core::DType::kQ8_0;
  double router_skew = 0;  // Zipf's exponent of the experts' popularity; 0: all alike
  uint64_t seed = 1;
  std::function<void(int64_t done_bytes, int64_t total_bytes)> progress{};
};

// Every type of a GGUF file that models are loaded from; as text for messages.
bool can_synthesize(core::DType type);
std::string synthesizable_types();

// Writes the file; its size in bytes. The bytes are a function of the geometry and the options.
// Weights of a type are a pattern of a million random values (standard deviation 0.02; normal, but
// of types without an encoder, whose codes are uniform) that each tensor enters at its own place;
// norms, routers and biases are drawn for each tensor. The file has no vocabulary
// (tokenizer.ggml.model is "none").
core::Result<int64_t> synthesize(const plan::Geometry& geometry, const SynthesisOptions& options);

// The same model without a file, in a fraction of its memory: tensors of a type share their
// pattern's bytes. `path` is not used.
core::Result<std::unique_ptr<formats::Checkpoint>> synthetic_checkpoint(
    const plan::Geometry& geometry, const SynthesisOptions& options);

// The choice biases of a layer's experts: under sigmoid scores of normal logits a token's best
// `used` of score + bias then contain the expert of rank r in a share ~ r^-skew of the tokens (at
// most kShareMax). Ranks are dealt to experts at random. Routing by groups of experts evens it out.
inline constexpr double kShareMax = 0.95;
struct RouterShape {
  int32_t experts = 0;
  int32_t used = 0;
};
std::vector<float> router_biases(RouterShape shape, double skew, uint64_t seed);

}  // namespace sluice::quantize
