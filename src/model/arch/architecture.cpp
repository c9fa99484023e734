#include "model/arch/architecture.h"

namespace sluice::model {
namespace {

constexpr const Architecture* kArchitectures[] = {&kLlama, &kQwen2, &kQwen3};

constexpr TensorRow<Weights> kModelTensors[] = {
    {.name = "output_norm.weight", .columns = Extent::kHidden, .vector = &Weights::output_norm},
    {.name = "rope_freqs.weight",
     .presence = Presence::kOptional,
     .columns = Extent::kRopePairs,
     .vector = &Weights::rope_factors},
};

}  // namespace

int64_t extent_of(const Spec& spec, Extent extent) {
  switch (extent) {
    case Extent::kOne:
      return 1;
    case Extent::kVocab:
      return spec.vocab;
    case Extent::kHidden:
      return spec.hidden;
    case Extent::kQ:
      return spec.q_columns();
    case Extent::kKv:
      return spec.kv_columns();
    case Extent::kHeadDim:
      return spec.head_dim;
    case Extent::kFfn:
      return spec.ffn;
    case Extent::kRopePairs:
      return spec.rope.dims / 2;
  }
  return 0;
}

std::span<const TensorRow<Weights>> model_tensors() {
  return kModelTensors;
}

core::Result<const Architecture*> find_architecture(std::string_view name) {
  std::string known;
  for (const Architecture* a : kArchitectures) {
    if (a->name == name) return a;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", a->name);
  }
  return core::unsupported("metadata 'general.architecture': '{}' is not known; known: {}", name,
                           known);
}

}  // namespace sluice::model
