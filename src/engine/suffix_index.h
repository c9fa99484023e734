// Finds where a sequence's latest tokens occurred before, and what followed there: the drafts that
// cost no model (n-gram and suffix matching; Saxena 2023, "Prompt lookup decoding").
//
// Hash chains as LZ77's match finders have them: the latest place of every pair of tokens, and for
// each place the one before it with the same hash. 4 bytes a token and as much again for the heads;
// adding a token is O(1), a search looks at kPlacesMax places.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sluice::engine {

struct SuffixMatch {
  int64_t tokens = 0;   // continued, ≤ out.size()
  int32_t matched = 0;  // length of the suffix that was found, ≤ SuffixIndex::kMatchMax; 0: none
};

class SuffixIndex {
 public:
  static constexpr int32_t kMatchMin = 2;
  static constexpr int32_t kMatchMax = 8;  // longer ones are as good
  static constexpr int32_t kPlacesMax = 32;

  // A sequence of that many tokens will not allocate; what is behind is not indexed.
  void reserve(int64_t tokens_max);

  // `ids` are all tokens of the sequence, those of the last call first.
  void extend(std::span<const int32_t> ids);

  // `out` gets what most often followed the longest suffix of `ids` that occurs in them before, of
  // equally frequent ones the latest. extend(ids) was called.
  SuffixMatch continue_with(std::span<const int32_t> ids, std::span<int32_t> out) const;

 private:
  size_t slot(int32_t first, int32_t second) const;

  std::vector<int32_t> latest_;   // by hash of a pair: the place behind it, or 0
  std::vector<int32_t> earlier_;  // by place: the one before it in its chain, or 0
};

}  // namespace sluice::engine
