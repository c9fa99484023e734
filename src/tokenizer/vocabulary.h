// What a tokenizer knows: tokens, merges, how text is cut. Immutable after it is built, shared by
// all threads; Encoder and StreamDecoder do the work.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/merge_table.h"
#include "tokenizer/split_rules.h"
#include "tokenizer/text_index.h"

namespace sluice::tokenizer {

inline constexpr TokenId kNoToken = -1;
inline constexpr std::string_view kSentencePieceSpace = "\xe2\x96\x81";  // U+2581, for a space
inline constexpr int64_t kVocabularyTokensMax = 1 << 22;
inline constexpr int64_t kTokenBytesMax = 1'024;

// The numbers are those of GGUF's tokenizer.ggml.token_type.
enum class TokenType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,      // <|im_end|>
  kUserDefined = 4,  // looked for in every text, and not hidden from readers: <think>
  kUnused = 5,
  kByte = 6,  // <0x0A> of SentencePiece
};

enum class Algorithm : uint8_t {
  kByteLevelBpe,      // GPT-2: bytes, merges in order of rank
  kSentencePieceBpe,  // characters, the merge whose result has the best score, bytes as fallback
};

struct SpecialIds {
  TokenId bos = kNoToken;
  TokenId eos = kNoToken;
  TokenId eot = kNoToken;
  TokenId unk = kNoToken;
};

// The parts of a vocabulary as a file names them. Texts need to live only while it is built.
struct VocabularySource {
  struct MergePair {
    std::string_view left;
    std::string_view right;
  };
  struct Added {
    TokenId id = kNoToken;
    MatchEdges edges;
    bool after_normalization = false;
  };

  Algorithm algorithm = Algorithm::kByteLevelBpe;
  std::vector<std::string_view> tokens;  // by id; byte-level ones in GPT-2's byte map
  std::vector<TokenType> types;          // by id
  std::vector<float> scores;             // by id, SentencePiece
  std::vector<MergePair> merges;         // best first, byte-level
  std::vector<Added> added;              // looked for in the text itself
  std::vector<SplitRule> rules;          // byte-level
  Normalization normalization = Normalization::kNone;
  bool ignore_merges = false;
  bool add_space_prefix = false;          // SentencePiece: texts start with a space
  bool remove_extra_whitespaces = false;  // SentencePiece: spaces at the ends and doubled ones go
  SpecialIds special;
  std::vector<TokenId> ends;    // of a text, beside eos and eot
  std::vector<TokenId> prefix;  // what the model wants before a text, bos as a rule
  std::vector<TokenId> suffix;
};

class Vocabulary {
 public:
  // An Error names what does not fit: sizes, ids out of range, merges of unknown tokens.
  static core::Result<Vocabulary> build(const VocabularySource& source);

  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  // Ids are 0 to size() - 1; a model's logits may have more (padding).
  int64_t size() const { return static_cast<int64_t>(types_.size()); }
  bool contains(TokenId id) const { return id >= 0 && id < size(); }
  // What the id stands for in a text; empty for ids outside the vocabulary.
  std::string_view bytes(TokenId id) const;
  TokenType type(TokenId id) const;  // kUnused outside
  // Control and unknown tokens: not part of an answer's text.
  bool is_special(TokenId id) const;
  // The id of a whole token by what it stands for, control tokens included ("<think>").
  std::optional<TokenId> find(std::string_view text) const;

  const SpecialIds& special() const { return special_; }
  // Any of these ends a generation, ascending: eos, eot, and the tokens that chat models end their
  // turn with, by name.
  std::span<const TokenId> end_of_generation() const { return end_of_generation_; }
  bool is_end_of_generation(TokenId id) const;
  std::span<const TokenId> prefix() const { return prefix_; }
  std::span<const TokenId> suffix() const { return suffix_; }

  // No token stands for more bytes. A text of more than n times as many has more than n ids, but
  // for what normalization and stripped spaces take away.
  int64_t token_bytes_max() const { return token_bytes_max_; }
  bool adds_space_prefix() const { return add_space_prefix_; }

 private:
  friend class Encoder;
  Vocabulary() = default;
  core::Result<void> store_tokens(const VocabularySource& source);
  core::Result<void> store_added(const VocabularySource& source);
  core::Result<void> store_special(const VocabularySource& source);
  core::Result<void> index_byte_level(const VocabularySource& source);
  core::Result<void> index_sentence_piece(const VocabularySource& source);
  void index_characters();
  void collect_end_of_generation(std::span<const TokenId> ends);

  Algorithm algorithm_ = Algorithm::kByteLevelBpe;
  std::vector<char> storage_;                // every token's bytes, one after the other
  std::vector<std::string_view> bytes_;      // by id, into storage_
  std::vector<TokenType> types_;             // by id
  TextIndex words_;                          // normal tokens by their bytes
  std::array<int32_t, 256> byte_symbols_{};  // a byte's token, kNoToken where there is none
  MergeTable merges_;
  // SentencePiece: the symbol of a character. Characters that are no token but part of one have
  // symbols from size() on.
  TextIndex characters_;
  std::vector<std::string_view> partial_characters_;  // by symbol - size()
  // SentencePiece: words start with a space and hold no other, so that they merge apart.
  bool spaces_start_words_ = false;

  AddedTokens added_;
  AddedTokens added_normalized_;
  std::vector<SplitRule> rules_;
  Normalization normalization_ = Normalization::kNone;
  bool ignore_merges_ = false;
  bool add_space_prefix_ = false;
  bool remove_extra_whitespaces_ = false;
  SpecialIds special_;
  std::vector<TokenId> end_of_generation_;
  std::vector<TokenId> prefix_;
  std::vector<TokenId> suffix_;
  int64_t token_bytes_max_ = 1;
};

}  // namespace sluice::tokenizer
