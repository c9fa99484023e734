#include "tokenizer/encoder.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/assert.h"
#include "tokenizer/unicode.h"

namespace sluice::tokenizer {
namespace {

constexpr size_t kWordBytesMax = std::numeric_limits<int32_t>::max() - 1;  // of SentencePiece

// A character at `offset` bytes of its word that no token contains: a symbol that merges with none.
int32_t unknown_symbol(int64_t offset) {
  return static_cast<int32_t>(-2 - offset);
}
int64_t unknown_offset(int32_t symbol) {
  return -2 - int64_t{symbol};
}

bool is_word_character(Char c) {
  return (c.classes & (kLetter | kNumber | kMark)) != 0 || c.code_point == '_';
}

bool starts_with_word(const char* begin, const char* end) {
  return begin < end && is_word_character(read_char(begin, end));
}

bool ends_with_word(const char* begin, const char* end) {
  if (begin == end) return false;
  const char* last = end - 1;
  while (last > begin && end - last < 4 && (static_cast<unsigned char>(*last) & 0xc0) == 0x80)
    --last;
  return is_word_character(read_char(last, end));
}

struct SpaceRules {
  bool add_prefix;
  bool remove_extra;
};

// The text with its spaces as SentencePiece sees them.
std::string prepare_spaces(std::string_view text, SpaceRules rules) {
  std::string out;
  out.reserve(text.size() + 1);
  const size_t prefix_bytes = rules.add_prefix ? 1 : 0;
  if (rules.add_prefix) out.push_back(' ');
  while (!text.empty()) {
    const bool is_space = text.starts_with(kSentencePieceSpace);
    const char c = is_space ? ' ' : text.front();
    text.remove_prefix(is_space ? kSentencePieceSpace.size() : 1);
    const bool at_edge = out.size() == prefix_bytes;
    if (rules.remove_extra && c == ' ' && (at_edge || out.back() == ' ')) continue;
    out.push_back(c);
  }
  if (rules.remove_extra && out.size() > prefix_bytes && out.back() == ' ') out.pop_back();
  return out;
}

}  // namespace

std::vector<TokenId> Encoder::encode(std::string_view text, EncodeOptions options) {
  ids_.clear();
  const bool surround = options.surrounding_ids == SurroundingIds::kAdd;
  if (surround) ids_.insert(ids_.end(), vocabulary_.prefix().begin(), vocabulary_.prefix().end());
  split_added(vocabulary_.added_, options.special_text, text,
              [&](std::string_view t) { encode_between(t, options.special_text); });
  if (surround) ids_.insert(ids_.end(), vocabulary_.suffix().begin(), vocabulary_.suffix().end());
  if (symbols_.capacity() > kScratchSymbolsMax) symbols_ = std::vector<int32_t>();
  if (ids_.capacity() > kScratchSymbolsMax) return std::exchange(ids_, std::vector<TokenId>());
  return ids_;
}

template <typename OnText>
void Encoder::split_added(const AddedTokens& added, SpecialText special_text, std::string_view text,
                          OnText on_text) {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const char* done = begin;  // everything before it is encoded
  for (const char* at = begin; at < end && !added.empty();) {
    const AddedTokens::Match match = added.next(at, end);
    if (match.token == nullptr) break;
    at = match.end;
    const MatchEdges& edges = match.token->edges;
    if (match.token->is_control && special_text == SpecialText::kPlain) continue;
    if (edges.whole_word &&
        (ends_with_word(begin, match.begin) || starts_with_word(match.end, end)))
      continue;
    const char* token_begin = std::max(match.begin, done);
    if (edges.strips_left)
      token_begin = std::max(trailing_spaces({std::min(done, match.begin), match.begin}), done);
    if (done < token_begin) on_text({done, token_begin});
    ids_.push_back(match.token->id);
    // Where an earlier token's spaces reach further, they end where this one's do.
    done = edges.strips_right ? skip(std::max(match.end, done), end, kSpace) : match.end;
  }
  if (done < end) on_text({done, end});
}

void Encoder::encode_between(std::string_view text, SpecialText special_text) {
  std::string normalized;
  if (vocabulary_.normalization_ == Normalization::kNfc && !is_surely_nfc(text)) {
    normalized = to_nfc(text);
    text = normalized;
  }
  split_added(vocabulary_.added_normalized_, special_text, text,
              [&](std::string_view t) { encode_normalized(t); });
}

void Encoder::encode_normalized(std::string_view text) {
  if (vocabulary_.algorithm_ == Algorithm::kSentencePieceBpe) {
    encode_sentence_piece(text);
    return;
  }
  split(vocabulary_.rules_, text, [this](std::string_view word) { encode_word(word); });
}

// Where asked for, a space is put before the text and after every added token.
void Encoder::encode_sentence_piece(std::string_view raw) {
  const std::string text =
      prepare_spaces(raw, {.add_prefix = vocabulary_.add_space_prefix_,
                           .remove_extra = vocabulary_.remove_extra_whitespaces_});
  if (!vocabulary_.spaces_start_words_) {
    encode_word(text);
    return;
  }
  for (size_t begin = 0; begin < text.size();) {
    const size_t first = text.find_first_not_of(' ', begin);
    const size_t end = first == std::string::npos ? text.size() : text.find(' ', first);
    encode_word(std::string_view(text).substr(begin, end - begin));
    begin = std::min(end, text.size());
  }
}

int64_t Encoder::scratch_bytes() const {
  return static_cast<int64_t>(ids_.capacity() * sizeof(TokenId) +
                              symbols_.capacity() * sizeof(int32_t)) +
         merger_.scratch_bytes();
}

void Encoder::encode_word(std::string_view word) {
  if (const std::span<const int32_t> ids = cache_.find(word); !ids.empty()) {
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    return;
  }
  const size_t first_id = ids_.size();
  const TokenId whole = vocabulary_.ignore_merges_ ? vocabulary_.words_.find(word) : kNoToken;
  if (whole != kNoToken) {
    ids_.push_back(whole);
  } else if (vocabulary_.algorithm_ == Algorithm::kByteLevelBpe) {
    append_word_symbols(word);
  } else {
    append_word_characters(word);
  }
  cache_.insert(word, std::span(ids_).subspan(first_id));
}

// Bytes that the vocabulary lacks are left out before merging, as Hugging Face tokenizers does.
void Encoder::append_word_symbols(std::string_view word) {
  symbols_.clear();
  symbols_.reserve(word.size());
  for (const char c : word) {
    const int32_t symbol = vocabulary_.byte_symbols_[static_cast<unsigned char>(c)];
    if (symbol != kNoToken) symbols_.push_back(symbol);
  }
  merger_.merge(vocabulary_.merges_, symbols_);
  ids_.insert(ids_.end(), symbols_.begin(), symbols_.end());
}

void Encoder::append_word_characters(std::string_view word) {
  ASSERT(word.size() < kWordBytesMax, "a word of {} bytes", word.size());
  symbols_.clear();
  symbols_.reserve(word.size());
  const char* const end = word.data() + word.size();
  for (const char* at = word.data(); at < end;) {
    const std::string_view character(at, static_cast<size_t>(char_size_bytes(at, end)));
    const int32_t known = vocabulary_.characters_.find(character);
    symbols_.push_back(known != TextIndex::kNone ? known : unknown_symbol(at - word.data()));
    at += character.size();
  }
  merger_.merge(vocabulary_.merges_, symbols_);
  for (const int32_t symbol : symbols_) append_id_of(symbol, word);
}

void Encoder::append_id_of(int32_t symbol, std::string_view word) {
  if (vocabulary_.contains(symbol)) {
    ids_.push_back(symbol);
  } else if (symbol < 0) {
    const char* const at = word.data() + unknown_offset(symbol);
    const int32_t bytes = char_size_bytes(at, word.data() + word.size());
    append_bytes_of({at, static_cast<size_t>(bytes)});
  } else {
    append_bytes_of(
        vocabulary_.partial_characters_[static_cast<size_t>(symbol - vocabulary_.size())]);
  }
}

// Byte fallback; the unknown token, once, where the vocabulary lacks one of the bytes.
void Encoder::append_bytes_of(std::string_view character) {
  const auto symbol_of = [this](char c) {
    return vocabulary_.byte_symbols_[static_cast<unsigned char>(c)];
  };
  const bool all_known = std::all_of(character.begin(), character.end(),
                                     [&](char c) { return symbol_of(c) != kNoToken; });
  if (all_known) {
    for (const char c : character) ids_.push_back(symbol_of(c));
  } else if (vocabulary_.special().unk != kNoToken) {
    ids_.push_back(vocabulary_.special().unk);
  }
}

}  // namespace sluice::tokenizer
