// The vocabulary of a Hugging Face folder in GGUF's keys.
#pragma once

#include <string>

#include "core/result.h"
#include "formats/gguf_writer.h"

namespace sluice::apps {

// tokenizer.json (byte-level BPE), with the ids and habits that config.json and
// tokenizer_config.json name. Ids up to the model's vocabulary that no token has are unused. An
// Error says what is missing, or that the text is cut by rules for which GGUF has no name.
core::Result<void> add_tokenizer_metadata(const std::string& folder, formats::GgufWriter* writer);

}  // namespace sluice::apps
