// What the decoders with grouped-query attention have in common in GGUF.
#pragma once

#include "model/arch/architecture.h"
#include "model/arch/keys.h"

namespace sluice::model {

// The keys "<architecture>.block_count" and so on; everything but experts and the vocabulary.
Spec read_dense_decoder(Keys& keys, kernels::RopeLayout layout);

}  // namespace sluice::model
