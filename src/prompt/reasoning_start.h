// How the answer of a model that thinks begins.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::prompt {

enum class ReasoningStart : uint8_t {
  kOff,      // the model does not think: all is answer
  kUnknown,  // <think> may come
  kOpened,   // the prompt ends with <think>
};

// For a model whose template knows of thoughts.
ReasoningStart start_after_prompt(std::string_view rendered_prompt);

}  // namespace sluice::prompt
