// Qwen2 and Qwen2.5: biases on q, k and v.
#include "model/arch/dense_decoder.h"
#include "model/arch/tensors.h"

namespace sluice::model {
namespace {

constexpr TensorRow<LayerWeights> kTensors[] = {
    {.name = "blk.{}.attn_q.bias", .columns = Extent::kQ, .vector = &LayerWeights::q_bias},
    {.name = "blk.{}.attn_k.bias", .columns = Extent::kKv, .vector = &LayerWeights::k_bias},
    {.name = "blk.{}.attn_v.bias", .columns = Extent::kKv, .vector = &LayerWeights::v_bias},
};

Spec read(Keys& keys) {
  return read_dense_decoder(keys, kernels::RopeLayout::kHalfSplit);
}

std::span<const LayerTable> tables() {
  static const LayerTable kAll[] = {block_tensors(), grouped_query_tensors(), dense_ffn_tensors(),
                                    kTensors};
  return kAll;
}

}  // namespace

const Architecture kQwen2 = {"qwen2", read, tables};

}  // namespace sluice::model
