#include "engine/suffix_index.h"

#include <array>
#include <map>

#include <gtest/gtest.h>

#include "core/rng.h"

namespace sluice::engine {
namespace {

std::vector<int32_t> continuation(const std::vector<int32_t>& ids, size_t tokens,
                                  int32_t* matched = nullptr) {
  SuffixIndex index;
  index.reserve(static_cast<int64_t>(ids.size()) + 8);
  for (size_t n = 1; n <= ids.size(); ++n) index.extend(std::span(ids).first(n));
  std::vector<int32_t> out(tokens, -1);
  const SuffixMatch match = index.continue_with(ids, out);
  if (matched != nullptr) *matched = match.matched;
  out.resize(static_cast<size_t>(match.tokens));
  return out;
}

using Ids = std::vector<int32_t>;

TEST(SuffixIndex, ContinuesTheLongestSuffixThatOccurredBefore) {
  int32_t matched = 0;
  EXPECT_EQ(continuation({1, 2, 3, 7, 9, 2, 3, 8, 1, 2, 3}, 2, &matched), (Ids{7, 9}));
  EXPECT_EQ(matched, 3);
}

TEST(SuffixIndex, OfEqualMatchesTheMostFrequentThenTheLatestGoesOn) {
  EXPECT_EQ(continuation({9, 1, 2, 5, 7, 1, 2, 5, 8, 1, 2, 6, 3, 1, 2}, 1), (Ids{5}));
  EXPECT_EQ(continuation({9, 1, 2, 5, 8, 1, 2, 6, 3, 1, 2}, 1), (Ids{6}));
}

TEST(SuffixIndex, AContinuationThatReachesTheEndRepeatsItself) {
  EXPECT_EQ(continuation({4, 5, 6, 4, 5}, 7), (Ids{6, 4, 5, 6, 4, 5, 6}));
}

TEST(SuffixIndex, NothingWhereNoPairOccurredBefore) {
  EXPECT_EQ(continuation({}, 4), Ids{});
  EXPECT_EQ(continuation({1}, 4), Ids{});
  EXPECT_EQ(continuation({1, 2, 3, 2, 4}, 4), Ids{});
}

TEST(SuffixIndex, WhatIsBehindItsMemoryIsNotFound) {
  SuffixIndex index;
  index.reserve(4);
  const Ids ids(100'000, 3);
  index.extend(ids);
  std::array<int32_t, 2> out{};
  EXPECT_EQ(index.continue_with(ids, out).tokens, 0);
}

// All places looked at one by one.
TEST(SuffixIndex, AgreesWithSearchingEverything) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    core::Rng random(seed);
    Ids ids;
    const int64_t tokens = 2 + random.below(60);
    for (int64_t i = 0; i < tokens; ++i) ids.push_back(static_cast<int32_t>(random.below(6)));
    size_t longest = 0;
    std::map<int32_t, std::pair<int, size_t>> votes;  // of the longest: count, latest place
    for (size_t place = 2; place < ids.size(); ++place) {
      size_t length = 0;
      while (length < std::min<size_t>(place, SuffixIndex::kMatchMax) &&
             ids[place - 1 - length] == ids[ids.size() - 1 - length])
        ++length;
      if (length < 2 || length < longest) continue;
      if (length > longest) votes.clear();
      longest = length;
      auto& [count, latest] = votes[ids[place]];
      ++count;
      latest = place;
    }
    Ids want;
    std::pair<int, size_t> most{0, 0};
    for (const auto& [id, vote] : votes)
      if (vote > most) {
        most = vote;
        want = {id};
      }
    int32_t matched = 0;
    EXPECT_EQ(continuation(ids, 1, &matched), want);
    EXPECT_EQ(matched, static_cast<int32_t>(longest));
  }
}

}  // namespace
}  // namespace sluice::engine
