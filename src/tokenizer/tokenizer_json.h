// The vocabulary in a Hugging Face tokenizer.json.
#pragma once

#include <string_view>

#include "core/result.h"
#include "tokenizer/vocabulary.h"

namespace sluice::tokenizer {

struct TokenizerFiles {
  std::string_view tokenizer_json;
  // tokenizer_config.json, which names bos, eos, pad and unk; empty where there is none.
  std::string_view config_json;
  // generation_config.json, which names every id that ends a text; empty where there is none.
  std::string_view generation_json = {};
};

// Byte-level BPE with the split rules of split_rules.h. kUnsupported names what else it finds.
core::Result<Vocabulary> read_tokenizer_json(const TokenizerFiles& files);

}  // namespace sluice::tokenizer
