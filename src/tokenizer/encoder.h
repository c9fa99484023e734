// Text to token ids.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/merge_table.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/word_cache.h"

namespace sluice::tokenizer {

enum class SpecialText : uint8_t {
  kParse,  // the text of a control token is that token: chat templates
  kPlain,  // it is text like any other: what users write
};

enum class SurroundingIds : uint8_t {
  kNone,
  kAdd,  // Vocabulary::prefix() and suffix()
};

struct EncodeOptions {
  SpecialText special_text = SpecialText::kParse;
  SurroundingIds surrounding_ids = SurroundingIds::kNone;
};

// Holds working memory (up to kScratchBytesMax) and a cache of words (1 MiB): one for each thread,
// kept for many texts. While it encodes it needs, beside the ids, kScratchBytesPerByte for each
// byte of the longest word: 96 MiB for a word of 4 MiB. The vocabulary must outlive it. At most n
// log n in the length of the text, whatever its words. Any bytes are a text: a byte-level
// vocabulary that has all 256 and does not normalize gives back what was not UTF-8 as it was. Bytes
// that a byte-level vocabulary lacks are left out.
class Encoder {
 public:
  static constexpr int64_t kScratchBytesPerByte =
      sizeof(int32_t) + WordMerger::kScratchBytesPerSymbol;
  static constexpr int64_t kScratchBytesMax =
      static_cast<int64_t>(kScratchSymbolsMax) * (kScratchBytesPerByte + sizeof(TokenId));

  explicit Encoder(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  std::vector<TokenId> encode(std::string_view text, EncodeOptions options = {});

  // The working memory that it keeps.
  int64_t scratch_bytes() const;

 private:
  // Emits the added tokens in the text and calls on_text with what lies between them.
  template <typename OnText>
  void split_added(const AddedTokens& added, SpecialText special_text, std::string_view text,
                   OnText on_text);
  void encode_between(std::string_view text, SpecialText special_text);
  void encode_normalized(std::string_view text);
  void encode_sentence_piece(std::string_view text);
  void encode_word(std::string_view word);
  void append_word_symbols(std::string_view word);
  void append_word_characters(std::string_view word);
  void append_id_of(int32_t symbol, std::string_view word);
  void append_bytes_of(std::string_view character);

  const Vocabulary& vocabulary_;
  std::vector<TokenId> ids_;
  WordMerger merger_;
  WordCache cache_;
  std::vector<int32_t> symbols_;
};

}  // namespace sluice::tokenizer
