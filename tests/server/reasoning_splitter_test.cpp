#include "server/reasoning_splitter.h"

#include <gtest/gtest.h>

#include "core/rng.h"

namespace sluice::server {
namespace {

using Start = ReasoningSplitter::Start;

struct Outcome {
  std::string reasoning;
  std::string answer;
  bool operator==(const Outcome&) const = default;
};

template <typename Cut>
Outcome split(Start start, std::string_view text, Cut cut) {
  ReasoningSplitter splitter(start);
  Outcome outcome;
  const auto add = [&](const ReasoningSplitter::Parts& parts) {
    outcome.reasoning += parts.reasoning;
    outcome.answer += parts.answer;
  };
  while (!text.empty()) {
    size_t bytes = 1;
    while (bytes < text.size() && !cut()) ++bytes;
    add(splitter.feed(text.substr(0, bytes)));
    text.remove_prefix(bytes);
  }
  add(splitter.flush());
  return outcome;
}

TEST(ReasoningSplitter, SplitsHoweverTheTextArrives) {
  const struct {
    Start start;
    std::string text;
    Outcome outcome;
  } rows[] = {
      {Start::kUnknown, "<think>\nhm, so\n</think>\n\nYes.", {"hm, so", "Yes."}},
      {Start::kUnknown, "\n<think>a</think>b", {"a", "b"}},
      {Start::kUnknown, "Yes <think>a</think>.", {"", "Yes <think>a</think>."}},
      {Start::kUnknown, "<thin air>", {"", "<thin air>"}},
      {Start::kUnknown, "<thi", {"", "<thi"}},
      {Start::kUnknown, "  x", {"", "  x"}},
      {Start::kUnknown, "<think></think>", {"", ""}},
      {Start::kOpened, "a </th b\n\n</think>c", {"a </th b", "c"}},
      {Start::kOpened, "never closed </thi", {"never closed </thi", ""}},
      {Start::kOpened, "x</think> a\n\n b \n", {"x", "a\n\n b \n"}},
      {Start::kOff, "<think>a</think>b", {"", "<think>a</think>b"}},
  };
  constexpr uint64_t kSeed = 5;
  core::Rng rng(kSeed);
  for (const auto& row : rows) {
    EXPECT_EQ(split(row.start, row.text, [] { return false; }), row.outcome) << row.text;
    EXPECT_EQ(split(row.start, row.text, [] { return true; }), row.outcome) << row.text;
    for (int round = 0; round < 50; ++round)
      EXPECT_EQ(split(row.start, row.text, [&] { return rng.below(3) == 0; }), row.outcome)
          << row.text << " seed " << kSeed;
  }
}

}  // namespace
}  // namespace sluice::server
