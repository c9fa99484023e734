#include "model/arch/tensors.h"

#include "formats/hugging_face.h"

namespace sluice::model {
namespace {

constexpr TensorRow<LayerWeights> kBlock[] = {
    {.name = "blk.{}.attn_norm.weight",
     .columns = Extent::kHidden,
     .vector = &LayerWeights::attention_norm},
    {.name = "blk.{}.attn_output.weight",
     .columns = Extent::kAttended,
     .rows = Extent::kHidden,
     .matrix = &LayerWeights::attention_output},
    {.name = "blk.{}.ffn_norm.weight",
     .columns = Extent::kHidden,
     .vector = &LayerWeights::ffn_norm},
};

constexpr TensorRow<LayerWeights> kGroupedQuery[] = {
    {.name = "blk.{}.attn_q.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kQ,
     .matrix = &LayerWeights::q},
    {.name = "blk.{}.attn_k.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kKv,
     .matrix = &LayerWeights::k},
    {.name = "blk.{}.attn_v.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kKv,
     .matrix = &LayerWeights::v},
};

// Queries come through a rank of their own or, where there is none, straight from the hidden state.
constexpr TensorRow<LayerWeights> kLatent[] = {
    {.name = "blk.{}.attn_q.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kQ,
     .matrix = &LayerWeights::q,
     .where = Where::kNoQueryRank},
    {.name = "blk.{}.attn_q_a.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kQueryRank,
     .matrix = &LayerWeights::q_a,
     .where = Where::kQueryRank},
    {.name = "blk.{}.attn_q_a_norm.weight",
     .columns = Extent::kQueryRank,
     .vector = &LayerWeights::q_a_norm,
     .where = Where::kQueryRank},
    {.name = "blk.{}.attn_q_b.weight",
     .columns = Extent::kQueryRank,
     .rows = Extent::kQ,
     .matrix = &LayerWeights::q_b,
     .where = Where::kQueryRank},
    {.name = "blk.{}.attn_kv_a_mqa.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kLatentRow,
     .matrix = &LayerWeights::kv_a},
    {.name = "blk.{}.attn_kv_a_norm.weight",
     .columns = Extent::kLatentRank,
     .vector = &LayerWeights::kv_a_norm},
    {.name = "blk.{}.attn_k_b.weight",
     .columns = Extent::kNopeDims,
     .rows = Extent::kLatentRank,
     .matrices = &LayerWeights::k_b,
     .lie = Lie::kHeadKeys,
     .count = Extent::kHeads},
    {.name = "blk.{}.attn_v_b.weight",
     .columns = Extent::kLatentRank,
     .rows = Extent::kValueDims,
     .matrices = &LayerWeights::v_b,
     .lie = Lie::kHeadValues,
     .count = Extent::kHeads},
};

constexpr TensorRow<LayerWeights> kDenseFfn[] = {
    {.name = "blk.{}.ffn_gate.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kFfn,
     .matrix = &LayerWeights::gate,
     .where = Where::kDense},
    {.name = "blk.{}.ffn_up.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kFfn,
     .matrix = &LayerWeights::up,
     .where = Where::kDense},
    {.name = "blk.{}.ffn_down.weight",
     .columns = Extent::kFfn,
     .rows = Extent::kHidden,
     .matrix = &LayerWeights::down,
     .where = Where::kDense},
};

// The router stays in float32: a rounded score would send a token elsewhere.
constexpr TensorRow<LayerWeights> kExperts[] = {
    {.name = "blk.{}.ffn_gate_inp.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kExperts,
     .matrix = &LayerWeights::router,
     .where = Where::kExperts,
     .widen = Widen::kF32},
    {.name = "blk.{}.exp_probs_b.bias",
     .presence = Presence::kOptional,
     .columns = Extent::kExperts,
     .vector = &LayerWeights::router_bias,
     .where = Where::kExperts,
     .promise = formats::kHasChoiceBiasesKey},
    {.name = "blk.{}.ffn_gate_exps.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kExpertFfn,
     .matrices = &LayerWeights::expert_gate,
     .lie = Lie::kStack,
     .count = Extent::kExperts,
     .where = Where::kExperts},
    {.name = "blk.{}.ffn_up_exps.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kExpertFfn,
     .matrices = &LayerWeights::expert_up,
     .lie = Lie::kStack,
     .count = Extent::kExperts,
     .where = Where::kExperts},
    {.name = "blk.{}.ffn_down_exps.weight",
     .columns = Extent::kExpertFfn,
     .rows = Extent::kHidden,
     .matrices = &LayerWeights::expert_down,
     .lie = Lie::kStack,
     .count = Extent::kExperts,
     .where = Where::kExperts},
    {.name = "blk.{}.ffn_gate_shexp.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kSharedFfn,
     .matrix = &LayerWeights::shared_gate,
     .where = Where::kSharedExperts},
    {.name = "blk.{}.ffn_up_shexp.weight",
     .columns = Extent::kHidden,
     .rows = Extent::kSharedFfn,
     .matrix = &LayerWeights::shared_up,
     .where = Where::kSharedExperts},
    {.name = "blk.{}.ffn_down_shexp.weight",
     .columns = Extent::kSharedFfn,
     .rows = Extent::kHidden,
     .matrix = &LayerWeights::shared_down,
     .where = Where::kSharedExperts},
};

}  // namespace

LayerTable block_tensors() {
  return kBlock;
}
LayerTable grouped_query_tensors() {
  return kGroupedQuery;
}
LayerTable latent_tensors() {
  return kLatent;
}
LayerTable dense_ffn_tensors() {
  return kDenseFfn;
}
LayerTable expert_tensors() {
  return kExperts;
}

}  // namespace sluice::model
