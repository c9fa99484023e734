// config.json of a model that GGUF's keys describe: the way back of metadata_of_config().
#pragma once

#include <cstdint>
#include <string>

#include "core/result.h"
#include "formats/metadata.h"

namespace sluice::formats {

// What a model's tensors say and its keys do not.
struct ConfigFacts {
  bool tied_embeddings = false;
  bool has_choice_biases = false;  // routers choose by score + bias
  int64_t vocab = 0;               // rows of the embedding
};
// kUnsupported for an architecture of which no folder is known.
core::Result<std::string> config_of_metadata(const Metadata& metadata, const ConfigFacts& facts);

}  // namespace sluice::formats
