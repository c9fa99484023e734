// The token ids of a request's prompt, as its engine will compute them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "contract/usage_event.h"
#include "core/clock.h"
#include "prompt/prompt_builder.h"

namespace sluice::gateway {

// One for each thread and model. `body`: as it goes to the engine, without the client's object
// "sluice". nullopt where only the engine can say: embeddings, a body that it would refuse or that
// has what this gateway does not render.
class PromptReader {
 public:
  static constexpr size_t kHeadBytesMax = 32 << 10;

  // `clock` outlives it.
  PromptReader(std::shared_ptr<const prompt::ModelText> text, const core::Clock& clock);

  // Of all prompts of the request together.
  std::optional<int64_t> count(contract::EventKind kind, std::string_view body);

  // How the first prompt begins: the ids of its first kHeadBytesMax bytes.
  std::optional<prompt::PromptHead> head(contract::EventKind kind, std::string_view body);

 private:
  std::shared_ptr<const prompt::ModelText> text_;
  prompt::PromptBuilder builder_;
};

}  // namespace sluice::gateway
