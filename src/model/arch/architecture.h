// One architecture: how its metadata becomes a Spec, and where its tensors go.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/result.h"
#include "formats/metadata.h"
#include "model/spec.h"
#include "model/weights.h"

namespace sluice::model {

enum class Extent { kOne, kVocab, kHidden, kQ, kKv, kHeadDim, kFfn, kRopePairs };
int64_t extent_of(const Spec& spec, Extent extent);

enum class Presence { kRequired, kOptional };

// A tensor of a layer (Owner LayerWeights, name with "{}" for the layer's number) or of the model
// (Owner Weights). Exactly one of `matrix` and `vector` says where it goes.
template <typename Owner>
struct TensorRow {
  std::string_view name;
  Presence presence = Presence::kRequired;
  Extent columns = Extent::kOne;  // inputs of a matrix, values of a vector
  Extent rows = Extent::kOne;     // outputs of a matrix
  Matrix Owner::*matrix = nullptr;
  Vector Owner::*vector = nullptr;
};

struct Architecture {
  std::string_view name;  // general.architecture
  core::Result<Spec> (*read_spec)(const formats::Metadata& metadata);
  std::span<const TensorRow<LayerWeights>> layer_tensors;              // its own
  std::span<const TensorRow<LayerWeights>> (*family_layer_tensors)();  // those of its family
};

inline constexpr std::string_view kEmbeddingTensor = "token_embd.weight";
inline constexpr std::string_view kOutputTensor = "output.weight";
std::span<const TensorRow<Weights>> model_tensors();

// The table of architectures; an Error lists those that are known.
core::Result<const Architecture*> find_architecture(std::string_view name);

extern const Architecture kLlama;
extern const Architecture kQwen2;
extern const Architecture kQwen3;

}  // namespace sluice::model
