// Tokens that are looked for in the text itself, before it is cut into words: control tokens such
// as
// <|im_end|>, and what a model's authors added to a trained vocabulary.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace sluice::tokenizer {

using TokenId = int32_t;

// How a match is widened or refused at its ends.
struct MatchEdges {
  bool strips_left = false;   // swallows the spaces before it
  bool strips_right = false;  // and after it
  bool whole_word = false;    // only between characters that are not of words
};

struct AddedToken {
  TokenId id = -1;
  std::string_view text;
  // Not looked for where the caller wants control tokens to be plain text.
  bool is_control = false;
  MatchEdges edges;
};

// Finds them in a text, in at most kTokenBytesMax steps a byte: leftmost first, the longest of
// those that start at one place.
class AddedTokens {
 public:
  struct Match {
    const char* begin;
    const char* end;
    const AddedToken* token;
  };

  // The texts must not be empty and must outlive this; of two equal ones the first stays.
  void insert(AddedToken token);
  bool empty() const { return tokens_.empty(); }

  // The next match in [begin, end); token null where there is none.
  Match next(const char* begin, const char* end) const;
  // The token that `text` is, or null.
  const AddedToken* find(std::string_view text) const;

 private:
  // A trie by first child and next sibling.
  struct Node {
    unsigned char byte;
    int32_t first_child = -1;
    int32_t next_sibling = -1;
    int32_t token = -1;
  };
  int32_t child(int32_t node, unsigned char byte) const;
  int32_t root(unsigned char byte) const { return roots_[byte] - 1; }

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::array<int32_t, 256> roots_{};  // node + 1 for the first byte
};

}  // namespace sluice::tokenizer
