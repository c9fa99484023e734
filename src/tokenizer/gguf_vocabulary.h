// The vocabulary in a GGUF file's metadata (tokenizer.ggml.*).
#pragma once

#include "core/result.h"
#include "formats/metadata.h"
#include "tokenizer/vocabulary.h"

namespace sluice::tokenizer {

// Models "gpt2" (byte-level) and "llama" (SentencePiece). kUnsupported for other models and unknown
// pre-tokenizers; errors name the key. Special ids outside the vocabulary count as absent.
core::Result<Vocabulary> read_gguf_vocabulary(const formats::Metadata& metadata);

}  // namespace sluice::tokenizer
