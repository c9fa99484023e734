#include "prompt/reasoning_start.h"

#include <gtest/gtest.h>

namespace sluice::prompt {
namespace {

TEST(ReasoningStart, SeesThatThePromptOpenedTheThoughts) {
  EXPECT_EQ(start_after_prompt("…<|Assistant|><think>\n"), ReasoningStart::kOpened);
  EXPECT_EQ(start_after_prompt("…<think>\n\n</think>\n\n"), ReasoningStart::kUnknown);
  EXPECT_EQ(start_after_prompt("<|im_start|>assistant\n"), ReasoningStart::kUnknown);
}

}  // namespace
}  // namespace sluice::prompt
