// Qwen3, dense and with experts: RMSNorm over each head of q and k, no biases; a softmax over all
// experts, the weights of the chosen ones sum to one.
#include "model/arch/dense_decoder.h"
#include "model/arch/tensors.h"

namespace sluice::model {
namespace {

constexpr TensorRow<LayerWeights> kTensors[] = {
    {.name = "blk.{}.attn_q_norm.weight",
     .columns = Extent::kHeadDim,
     .vector = &LayerWeights::q_norm},
    {.name = "blk.{}.attn_k_norm.weight",
     .columns = Extent::kHeadDim,
     .vector = &LayerWeights::k_norm},
};

Spec read(Keys& keys) {
  return read_dense_decoder(keys, kernels::RopeLayout::kHalfSplit);
}

Spec read_with_experts(Keys& keys) {
  Spec spec = read_dense_decoder(keys, kernels::RopeLayout::kHalfSplit);
  spec.experts = read_experts(keys, {.normalized = true});
  check_inputs(keys, spec);
  return spec;
}

std::span<const LayerTable> tables() {
  static const LayerTable kAll[] = {block_tensors(), grouped_query_tensors(), dense_ffn_tensors(),
                                    kTensors};
  return kAll;
}

std::span<const LayerTable> tables_with_experts() {
  static const LayerTable kAll[] = {block_tensors(), grouped_query_tensors(), dense_ffn_tensors(),
                                    expert_tensors(), kTensors};
  return kAll;
}

}  // namespace

const Architecture kQwen3 = {"qwen3", read, tables};
const Architecture kQwen3Moe = {"qwen3moe", read_with_experts, tables_with_experts};

}  // namespace sluice::model
