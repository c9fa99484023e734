// A vocabulary by what a command line or a configuration names.
#pragma once

#include <string>

#include "core/result.h"
#include "formats/checkpoint.h"
#include "tokenizer/vocabulary.h"

namespace sluice::tokenizer {

// A GGUF file (one without weights is enough), a tokenizer.json, or a folder that holds one; a
// tokenizer_config.json beside it is read too.
core::Result<Vocabulary> open_vocabulary(const std::string& model);
// The same, of a model that is open already.
core::Result<Vocabulary> open_vocabulary(const std::string& model,
                                         const formats::Checkpoint& checkpoint);

}  // namespace sluice::tokenizer
