// Vocabularies and chat templates of the models whose files this gateway can read
// (contract::Model::vocabulary_file). Of the others prompts are estimated from their bytes.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "contract/snapshot.h"
#include "core/log.h"
#include "prompt/model_text.h"

namespace sluice::gateway {

class ModelTexts {
 public:
  explicit ModelTexts(const core::Logger& log) : log_(log) {}

  // Reads the files that models name for the first time and lets go of those that none names any
  // more. What cannot be read goes to the log, and is not tried again while it is named. One
  // thread; takes as long as reading does (0.1 s for 50,000 tokens).
  void update(const contract::Snapshot& snapshot);

  // Null: not named, or not read. Any thread.
  std::shared_ptr<const prompt::ModelText> find(std::string_view file) const;

 private:
  using Texts = std::map<std::string, std::shared_ptr<const prompt::ModelText>, std::less<>>;

  const core::Logger& log_;
  mutable std::mutex mutex_;
  Texts by_file_;  // null: could not be read
};

}  // namespace sluice::gateway
