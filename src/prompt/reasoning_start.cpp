#include "prompt/reasoning_start.h"

namespace sluice::prompt {

ReasoningStart start_after_prompt(std::string_view rendered_prompt) {
  const size_t last = rendered_prompt.find_last_not_of(" \t\r\n");
  const std::string_view text =
      rendered_prompt.substr(0, last == std::string_view::npos ? 0 : last + 1);
  return text.ends_with("<think>") ? ReasoningStart::kOpened : ReasoningStart::kUnknown;
}

}  // namespace sluice::prompt
