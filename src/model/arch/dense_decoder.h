// What the dense decoders with grouped-query attention and a gated FFN have in common in GGUF.
#pragma once

#include <span>
#include <string_view>

#include "core/result.h"
#include "formats/metadata.h"
#include "model/arch/architecture.h"

namespace sluice::model {

// Norms, q, k, v, output and the three FFN matrices of a layer.
std::span<const TensorRow<LayerWeights>> dense_decoder_tensors();

// The keys "<architecture>.block_count" and so on; everything but the vocabulary.
core::Result<Spec> read_dense_decoder(const formats::Metadata& metadata,
                                      std::string_view architecture, kernels::RopeLayout layout);

}  // namespace sluice::model
