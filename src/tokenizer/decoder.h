// Token ids to text, at once or as they come.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tokenizer/vocabulary.h"

namespace sluice::tokenizer {

enum class SpecialOutput : uint8_t {
  kKeep,  // the text of control tokens is part of the text
  kSkip,
};

enum class DecodeStart : uint8_t {
  kContinuation,  // the ids go on from others: what a model answers
  kText,          // a whole text: SentencePiece's added first space goes
};

struct DecodeOptions {
  SpecialOutput special = SpecialOutput::kSkip;
  DecodeStart start = DecodeStart::kContinuation;
};

// Bytes to valid UTF-8, a few at a time. A character is given out when its last byte is there.
// Bytes that cannot become one are U+FFFD, one for each maximal subpart (Unicode 15, 3.9; W3C,
// Python).
class Utf8Stream {
 public:
  void push(std::string_view bytes, std::string& out);
  void finish(std::string& out);  // what is left is incomplete

 private:
  std::string pending_;  // a proper prefix of a character, at most 3 bytes
};

// One stream of ids. The pieces together are decode() of all ids. Ids outside the vocabulary are
// nothing. The vocabulary must outlive it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Vocabulary& vocabulary, DecodeOptions options = {});

  std::string push(TokenId id);  // what is certain now; never half a character
  std::string finish();

 private:
  const Vocabulary* vocabulary_;
  SpecialOutput special_;
  bool drops_space_;
  Utf8Stream utf8_;
};

std::string decode(const Vocabulary& vocabulary, std::span<const TokenId> ids,
                   DecodeOptions options = {});

}  // namespace sluice::tokenizer
