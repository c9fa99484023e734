// Llama 1 to 3 and what shares their graph (SmolLM2, Mistral, TinyLlama).
// GGUF files of this architecture hold q and k permuted, so that adjacent dimensions turn together.
#include "model/arch/dense_decoder.h"
#include "model/arch/tensors.h"

namespace sluice::model {
namespace {

constexpr TensorRow<LayerWeights> kTensors[] = {
    {.name = "blk.{}.attn_q.bias",
     .presence = Presence::kOptional,
     .columns = Extent::kQ,
     .vector = &LayerWeights::q_bias},
    {.name = "blk.{}.attn_k.bias",
     .presence = Presence::kOptional,
     .columns = Extent::kKv,
     .vector = &LayerWeights::k_bias},
    {.name = "blk.{}.attn_v.bias",
     .presence = Presence::kOptional,
     .columns = Extent::kKv,
     .vector = &LayerWeights::v_bias},
    {.name = "blk.{}.attn_output.bias",
     .presence = Presence::kOptional,
     .columns = Extent::kHidden,
     .vector = &LayerWeights::attention_output_bias},
};

Spec read(Keys& keys) {
  return read_dense_decoder(keys, kernels::RopeLayout::kAdjacentPairs);
}

std::span<const LayerTable> tables() {
  static const LayerTable kAll[] = {block_tensors(), grouped_query_tensors(), dense_ffn_tensors(),
                                    kTensors};
  return kAll;
}

}  // namespace

const Architecture kLlama = {"llama", read, tables};

}  // namespace sluice::model
