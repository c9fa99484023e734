#include "server/stop_matcher.h"

#include <gtest/gtest.h>

#include "core/rng.h"

namespace sluice::server {
namespace {

struct Outcome {
  std::string text;
  std::string matched;
  bool operator==(const Outcome&) const = default;
};

// Feeds `text` in pieces that end where `cut` says so.
template <typename Cut>
Outcome match(const std::vector<std::string>& stops, std::string_view text, Cut cut) {
  StopMatcher matcher(stops);
  Outcome outcome;
  while (!text.empty()) {
    size_t bytes = 1;
    while (bytes < text.size() && !cut()) ++bytes;
    const StopMatcher::Step step = matcher.feed(text.substr(0, bytes));
    outcome.text += step.text;
    if (step.matched) {
      outcome.matched = stops[*step.matched];
      return outcome;
    }
    text.remove_prefix(bytes);
  }
  outcome.text += matcher.flush();
  return outcome;
}

// What "the match that is complete first, of those the longest" means, looked up end by end.
Outcome expected(const std::vector<std::string>& stops, std::string_view text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::string longest;
    for (const std::string& stop : stops)
      if (text.substr(0, end).ends_with(stop) && stop.size() > longest.size()) longest = stop;
    if (!longest.empty()) return {std::string(text.substr(0, end - longest.size())), longest};
  }
  return {std::string(text), ""};
}

TEST(StopMatcher, CutsBeforeTheStop) {
  const auto whole = [] { return false; };
  const auto bytewise = [] { return true; };
  const struct {
    std::vector<std::string> stops;
    std::string text;
    Outcome outcome;
  } rows[] = {
      {{"\n\n"}, "a\nb\n\nc", {"a\nb", "\n\n"}},
      {{"abc", "bc"}, "xabc", {"x", "abc"}},
      {{"abcd", "c"}, "abcd", {"ab", "c"}},
      {{"aab"}, "aaab", {"a", "aab"}},
      {{"stop"}, "sto", {"sto", ""}},
      {{"水x"}, "氷水y水x", {"氷水y", "水x"}},
      {{}, "all", {"all", ""}},
      {{"x"}, "x", {"", "x"}},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(match(row.stops, row.text, whole), row.outcome) << row.text;
    EXPECT_EQ(match(row.stops, row.text, bytewise), row.outcome) << row.text;
  }
}

TEST(StopMatcher, TheRestIsBehindTheMatch) {
  StopMatcher matcher({"</x>"});
  EXPECT_EQ(matcher.feed("a</").text, "a");
  const StopMatcher::Step step = matcher.feed("x>bc");
  EXPECT_EQ(step.text, "");
  EXPECT_EQ(step.matched, 0u);
  EXPECT_EQ(step.rest, "bc");
}

TEST(StopMatcher, NeverLetsTheBeginningOfAStopThrough) {
  StopMatcher matcher({"ENDING"});
  EXPECT_EQ(matcher.feed("the EN").text, "the ");
  EXPECT_EQ(matcher.feed("D").text, "");
  EXPECT_EQ(matcher.feed("!").text, "END!");
}

// Two letters make borders and overlaps frequent.
TEST(StopMatcher, AnySplitGivesTheSameText) {
  constexpr uint64_t kSeed = 71;
  core::Rng rng(kSeed);
  const auto word = [&](int64_t least, int64_t most) {
    std::string text(static_cast<size_t>(least + rng.below(most - least + 1)), 'a');
    for (char& c : text) c = rng.below(2) == 0 ? 'a' : 'b';
    return text;
  };
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> stops(static_cast<size_t>(rng.below(4)));
    for (std::string& stop : stops) stop = word(1, 6);
    const std::string text = word(0, 30);
    const Outcome right = expected(stops, text);
    for (int split = 0; split < 3; ++split)
      ASSERT_EQ(match(stops, text, [&] { return rng.below(3) == 0; }), right)
          << "seed " << kSeed << " round " << round << " text " << text;
  }
}

}  // namespace
}  // namespace sluice::server
