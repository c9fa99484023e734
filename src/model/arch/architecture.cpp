#include "model/arch/architecture.h"

namespace sluice::model {
namespace {

constexpr const Architecture* kArchitectures[] = {&kLlama, &kQwen2, &kQwen3, &kQwen3Moe,
                                                  &kDeepseek2};

constexpr TensorRow<Weights> kModelTensors[] = {
    {.name = "output_norm.weight", .columns = Extent::kHidden, .vector = &Weights::output_norm},
    {.name = "rope_freqs.weight",
     .presence = Presence::kOptional,
     .columns = Extent::kRopePairs,
     .vector = &Weights::rope_factors},
};

constexpr TensorRow<DraftWeights> kDraftTensors[] = {
    {.name = "blk.{}.nextn.enorm.weight",
     .columns = Extent::kHidden,
     .vector = &DraftWeights::embedding_norm},
    {.name = "blk.{}.nextn.hnorm.weight",
     .columns = Extent::kHidden,
     .vector = &DraftWeights::hidden_norm},
    {.name = "blk.{}.nextn.eh_proj.weight",
     .columns = Extent::kDraftInputs,
     .rows = Extent::kHidden,
     .matrix = &DraftWeights::join},
    {.name = "blk.{}.nextn.shared_head_norm.weight",
     .columns = Extent::kHidden,
     .vector = &DraftWeights::output_norm},
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
    case Extent::kHeads:
      return spec.heads;
    case Extent::kQ:
      return spec.q_columns();
    case Extent::kKv:
      return spec.kv_columns();
    case Extent::kHeadDim:
      return spec.head_dim;
    case Extent::kAttended:
      return spec.attended_columns();
    case Extent::kFfn:
      return spec.ffn;
    case Extent::kRopePairs:
      return spec.rope.dims / 2;
    case Extent::kQueryRank:
      return spec.latent.query_rank;
    case Extent::kLatentRank:
      return spec.latent.rank;
    case Extent::kLatentRow:
      return spec.latent.rank + spec.rope.dims;
    case Extent::kNopeDims:
      return spec.latent.nope_dims;
    case Extent::kValueDims:
      return spec.latent.value_dims;
    case Extent::kExperts:
      return spec.experts.count;
    case Extent::kExpertFfn:
      return spec.experts.ffn;
    case Extent::kSharedFfn:
      return spec.experts.shared_ffn;
    case Extent::kDraftInputs:
      return int64_t{2} * spec.hidden;
  }
  return 0;
}

Cut cut_of(const TensorExtents& extents) {
  const auto is_split = [](Extent extent) {
    switch (extent) {
      case Extent::kHeads:
      case Extent::kQ:
      case Extent::kKv:
      case Extent::kAttended:
      case Extent::kFfn:
      case Extent::kSharedFfn:
        return true;
      default:
        return false;
    }
  };
  if (extents.count == Extent::kHeads || extents.count == Extent::kExperts) return Cut::kMembers;
  if (is_split(extents.rows)) return Cut::kRows;
  if (is_split(extents.columns)) return Cut::kColumns;
  return extents.rows == Extent::kVocab ? Cut::kFirst : Cut::kWhole;
}

bool is_in_layer(const Spec& spec, Where where, int32_t layer) {
  switch (where) {
    case Where::kAll:
      return true;
    case Where::kDense:
      return !spec.has_experts(layer);
    case Where::kExperts:
      return spec.has_experts(layer);
    case Where::kSharedExperts:
      return spec.has_experts(layer) && spec.experts.shared_ffn > 0;
    case Where::kQueryRank:
      return spec.latent.query_rank > 0;
    case Where::kNoQueryRank:
      return spec.latent.query_rank == 0;
  }
  return false;
}

std::span<const TensorRow<Weights>> model_tensors() {
  return kModelTensors;
}

std::span<const TensorRow<DraftWeights>> draft_tensors() {
  return kDraftTensors;
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

bool needs_tensor(std::string_view architecture, std::string_view name) {
  constexpr std::string_view kLayer = "blk.";
  const auto found = find_architecture(architecture);
  const size_t dot = name.find('.', kLayer.size());
  if (!found.ok() || !name.starts_with(kLayer) || dot == name.npos) return false;
  const std::string row_name = fmt::format("blk.{{}}{}", name.substr(dot));
  for (const LayerTable& table : (*found)->layer_tables())
    for (const TensorRow<LayerWeights>& row : table)
      if (row.name == row_name) return row.presence == Presence::kRequired;
  return false;
}

}  // namespace sluice::model
