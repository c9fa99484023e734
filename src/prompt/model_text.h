// What of a model's file turns requests into its token ids: vocabulary and chat template. The
// engine reads it to compute, the gateway to count tokens and to name the blocks of a prompt.
#pragma once

#include <optional>
#include <string>

#include "core/result.h"
#include "jinja/template.h"
#include "tokenizer/vocabulary.h"

namespace sluice::prompt {

struct ModelText {
  tokenizer::Vocabulary vocabulary;
  std::optional<jinja::Template> chat_template;  // none: the model has none
  bool thinks = false;                           // its template knows <think>
};

// `chat_template`: its source, "" where there is none.
core::Result<ModelText> make_model_text(tokenizer::Vocabulary vocabulary,
                                        const std::string& chat_template);

}  // namespace sluice::prompt
