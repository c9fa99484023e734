// Qwen3, dense: RMSNorm over each head of q and k, no biases.
#include "model/arch/dense_decoder.h"

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

core::Result<Spec> read(const formats::Metadata& metadata) {
  return read_dense_decoder(metadata, kQwen3.name, kernels::RopeLayout::kHalfSplit);
}

}  // namespace

const Architecture kQwen3 = {"qwen3", read, kTensors, dense_decoder_tensors};

}  // namespace sluice::model
