#include "gateway/prompts/model_texts.h"

#include <utility>

#include "formats/checkpoint.h"
#include "tokenizer/open_vocabulary.h"

namespace sluice::gateway {
namespace {

core::Result<prompt::ModelText> read(const std::string& file) {
  const auto checkpoint = TRY(formats::Checkpoint::open(file));
  return prompt::make_model_text(TRY(tokenizer::open_vocabulary(file, *checkpoint)),
                                 checkpoint->manifest().chat_template);
}

}  // namespace

void ModelTexts::update(const contract::Snapshot& snapshot) {
  Texts next;
  for (const contract::Model& model : snapshot.models) {
    const std::string& file = model.vocabulary_file;
    if (file.empty() || next.contains(file)) continue;
    if (const auto known = by_file_.find(file); known != by_file_.end()) {
      next.insert(*known);
      continue;
    }
    auto text = read(file);
    if (!text.ok())
      log_.warning("model '{}': its prompts are estimated and known by their bytes: {}", model.id,
                   text.error().message);
    next.emplace(
        file, text.ok() ? std::make_shared<prompt::ModelText>(std::move(text).value()) : nullptr);
  }
  const std::lock_guard lock(mutex_);
  by_file_ = std::move(next);
}

std::shared_ptr<const prompt::ModelText> ModelTexts::find(std::string_view file) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_file_.find(file);
  return found == by_file_.end() ? nullptr : found->second;
}

}  // namespace sluice::gateway
