#include "prompt/model_text.h"

#include <utility>

namespace sluice::prompt {

core::Result<ModelText> make_model_text(tokenizer::Vocabulary vocabulary,
                                        const std::string& chat_template) {
  ModelText text{.vocabulary = std::move(vocabulary), .chat_template = std::nullopt};
  if (chat_template.empty()) return text;
  auto parsed = jinja::Template::parse(chat_template);
  if (!parsed.ok()) return parsed.error().within("chat template");
  text.chat_template = std::move(parsed).value();
  text.thinks = chat_template.find("think>") != std::string::npos;
  return text;
}

}  // namespace sluice::prompt
