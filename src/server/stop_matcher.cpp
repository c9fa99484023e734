#include "server/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "core/assert.h"

namespace sluice::server {

StopMatcher::StopMatcher(const std::vector<std::string>& stops) {
  for (const std::string& stop : stops) {
    ASSERT(!stop.empty(), "an empty stop string");
    Pattern pattern{.text = stop, .fallback = std::vector<size_t>(stop.size(), 0)};
    for (size_t i = 1; i < stop.size(); ++i) {
      size_t border = pattern.fallback[i - 1];
      while (border > 0 && stop[border] != stop[i]) border = pattern.fallback[border - 1];
      pattern.fallback[i] = border + (stop[border] == stop[i] ? 1 : 0);
    }
    patterns_.push_back(std::move(pattern));
  }
}

void StopMatcher::advance(Pattern* pattern, char byte) {
  while (pattern->length > 0 && pattern->text[pattern->length] != byte)
    pattern->length = pattern->fallback[pattern->length - 1];
  if (pattern->text[pattern->length] == byte) ++pattern->length;
}

StopMatcher::Step StopMatcher::feed(std::string_view piece) {
  ASSERT(!done_, "text of {} bytes after a match", piece.size());
  for (size_t i = 0; i < piece.size(); ++i) {
    std::optional<size_t> longest;
    for (size_t p = 0; p < patterns_.size(); ++p) {
      advance(&patterns_[p], piece[i]);
      const bool complete = patterns_[p].length == patterns_[p].text.size();
      if (complete && (!longest || patterns_[p].text.size() > patterns_[*longest].text.size()))
        longest = p;
    }
    if (!longest) continue;
    done_ = true;
    held_.append(piece, 0, i + 1);
    held_.resize(held_.size() - patterns_[*longest].text.size());
    return {.text = std::exchange(held_, {}),
            .matched = longest,
            .rest = std::string(piece.substr(i + 1))};
  }
  size_t hold = 0;
  for (const Pattern& pattern : patterns_) hold = std::max(hold, pattern.length);
  held_ += piece;
  Step step{.text = held_.substr(0, held_.size() - hold), .matched = std::nullopt, .rest = {}};
  held_.erase(0, held_.size() - hold);
  return step;
}

std::string StopMatcher::flush() {
  return std::exchange(held_, {});
}

}  // namespace sluice::server
