// Tables of a layer's tensors in GGUF's names, one for each block.
#pragma once

#include "model/arch/architecture.h"

namespace sluice::model {

LayerTable block_tensors();          // norms and attention's output
LayerTable grouped_query_tensors();  // q, k, v
LayerTable latent_tensors();         // the compressed queries, keys and values
LayerTable dense_ffn_tensors();      // gate, up, down
LayerTable expert_tensors();         // router, experts, shared experts

}  // namespace sluice::model
