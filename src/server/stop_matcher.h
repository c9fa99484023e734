// Finds the first of several strings in a text that arrives in pieces, and lets through only text
// that cannot be the beginning of one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::server {

// The answer does not depend on how the text was cut into pieces: the match that is complete first
// wins, of those complete at the same byte the longest. Knuth–Morris–Pratt for each string: time is
// linear in the text.
class StopMatcher {
 public:
  // None of `stops` is empty.
  explicit StopMatcher(const std::vector<std::string>& stops);

  struct Step {
    std::string text;               // certain: before a match, and no beginning of one
    std::optional<size_t> matched;  // index into `stops`
    std::string rest;               // of the piece, behind the match
  };
  // ASSERTs that nothing was matched before.
  Step feed(std::string_view piece);

  // The text has ended: what was held back.
  std::string flush();

 private:
  struct Pattern {
    std::string text;
    std::vector<size_t> fallback;  // length of the longest border of each prefix
    size_t length = 0;             // of the prefix that the text ends with
  };
  static void advance(Pattern* pattern, char byte);

  std::vector<Pattern> patterns_;
  std::string held_;
  bool done_ = false;
};

}  // namespace sluice::server
