// What the decoders with grouped-query attention have in common in GGUF.
#pragma once

#include <string_view>

#include "core/result.h"
#include "formats/metadata.h"
#include "model/arch/architecture.h"

namespace sluice::model {

// The keys "<architecture>.block_count" and so on; everything but experts and the vocabulary.
core::Result<Spec> read_dense_decoder(const formats::Metadata& metadata,
                                      std::string_view architecture, kernels::RopeLayout layout);

}  // namespace sluice::model
