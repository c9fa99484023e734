// The vocabulary of a GGUF file as the files of a Hugging Face folder.
#pragma once

#include <string>

#include "core/result.h"
#include "formats/metadata.h"

namespace sluice::apps {

// Writes tokenizer.json (byte-level BPE), tokenizer_config.json and generation_config.json; nothing
// for a model without a vocabulary. kUnsupported for other vocabularies.
core::Result<void> write_tokenizer_files(const formats::Metadata& metadata,
                                         const std::string& folder);

}  // namespace sluice::apps
