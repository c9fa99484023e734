#include "tokenizer/vocabulary.h"

#include <algorithm>
#include <string>

#include "core/utf8.h"
#include "tokenizer/byte_map.h"
#include "tokenizer/unicode.h"

namespace sluice::tokenizer {
namespace {

// Tokens with which chat models end their turn, by the names their authors gave them.
constexpr std::string_view kEndOfTurnTexts[] = {
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<eos>",
    "</s>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<｜end▁of▁sentence｜>",
};

bool is_text_token(TokenType type) {
  return type == TokenType::kNormal || type == TokenType::kUnused;
}

// "<0x0A>" to 10; nothing where it is not written so.
std::optional<uint8_t> parse_byte_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text.back() != '>') return std::nullopt;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && (c < 'A' || c > 'F')) return std::nullopt;
    value = value * 16 + (digit ? c - '0' : c - 'A' + 10);
  }
  return static_cast<uint8_t>(value);
}

void append_with_spaces(std::string_view text, std::string& out) {
  while (!text.empty()) {
    const size_t at = std::min(text.find(kSentencePieceSpace), text.size());
    out.append(text.substr(0, at));
    if (at == text.size()) return;
    out.push_back(' ');
    text.remove_prefix(at + kSentencePieceSpace.size());
  }
}

void append_token_bytes(Algorithm algorithm, TokenType type, std::string_view text,
                        std::string& out) {
  if (type == TokenType::kByte) {
    if (const std::optional<uint8_t> byte = parse_byte_token(text)) {
      out.push_back(static_cast<char>(*byte));
      return;
    }
  }
  if (!is_text_token(type)) {
    out.append(text);
  } else if (algorithm == Algorithm::kByteLevelBpe) {
    append_mapped_bytes(text, out);
  } else {
    append_with_spaces(text, out);
  }
}

}  // namespace

core::Result<Vocabulary> Vocabulary::build(const VocabularySource& source) {
  Vocabulary v;
  v.algorithm_ = source.algorithm;
  v.rules_ = source.rules;
  v.normalization_ = source.normalization;
  v.ignore_merges_ = source.ignore_merges;
  v.add_space_prefix_ = source.add_space_prefix;
  v.remove_extra_whitespaces_ = source.remove_extra_whitespaces;
  TRY(v.store_tokens(source));
  TRY(v.store_added(source));
  TRY(v.store_special(source));
  if (source.algorithm == Algorithm::kByteLevelBpe) {
    TRY(v.index_byte_level(source));
  } else {
    TRY(v.index_sentence_piece(source));
  }
  v.collect_end_of_generation(source.ends);
  return v;
}

core::Result<void> Vocabulary::store_tokens(const VocabularySource& source) {
  const size_t count = source.tokens.size();
  if (count == 0) return core::invalid("vocabulary: no tokens");
  if (count > kVocabularyTokensMax)
    return core::invalid("vocabulary: {} tokens, at most {} are allowed", count,
                         kVocabularyTokensMax);
  if (!source.types.empty() && source.types.size() != count)
    return core::invalid("vocabulary: {} tokens but {} token types", count, source.types.size());
  types_ = source.types;
  types_.resize(count, TokenType::kNormal);

  std::string all;
  std::vector<size_t> ends;
  ends.reserve(count);
  for (size_t id = 0; id < count; ++id) {
    append_token_bytes(algorithm_, types_[id], source.tokens[id], all);
    ends.push_back(all.size());
    if (const size_t begin = id == 0 ? 0 : ends[id - 1]; all.size() - begin > kTokenBytesMax)
      return core::invalid("vocabulary: token {} has {} bytes, at most {} are allowed", id,
                           all.size() - begin, kTokenBytesMax);
  }
  storage_.assign(all.begin(), all.end());
  bytes_.reserve(count);
  size_t begin = 0;
  for (const size_t end : ends) {
    bytes_.emplace_back(storage_.data() + begin, end - begin);
    token_bytes_max_ = std::max(token_bytes_max_, static_cast<int64_t>(end - begin));
    begin = end;
  }
  for (size_t id = 0; id < count; ++id)
    if (types_[id] == TokenType::kNormal) words_.insert(bytes_[id], static_cast<TokenId>(id));
  return {};
}

core::Result<void> Vocabulary::store_added(const VocabularySource& source) {
  for (const VocabularySource::Added& added : source.added) {
    if (!contains(added.id))
      return core::invalid("vocabulary: added token {} of {} tokens", added.id, size());
    const std::string_view text = bytes(added.id);
    if (text.empty()) return core::invalid("vocabulary: added token {} is empty", added.id);
    const bool after = added.after_normalization && normalization_ == Normalization::kNfc;
    if (after && to_nfc(text) != text)
      return core::unsupported("vocabulary: added token '{}' is not in normalization form C", text);
    (added.after_normalization ? added_normalized_ : added_)
        .insert({added.id, text, is_special(added.id), added.edges});
  }
  return {};
}

core::Result<void> Vocabulary::store_special(const VocabularySource& source) {
  special_ = source.special;
  for (const auto& [name, id] : {std::pair("bos", special_.bos),
                                 {"eos", special_.eos},
                                 {"eot", special_.eot},
                                 {"unk", special_.unk}})
    if (id != kNoToken && !contains(id))
      return core::invalid("vocabulary: {} token {} of {} tokens", name, id, size());
  prefix_ = source.prefix;
  suffix_ = source.suffix;
  for (const auto* ids : {&prefix_, &suffix_})
    for (const TokenId id : *ids)
      if (!contains(id))
        return core::invalid("vocabulary: token {} around a text, of {} tokens", id, size());
  return {};
}

core::Result<void> Vocabulary::index_byte_level(const VocabularySource& source) {
  TextIndex by_text;
  for (size_t id = 0; id < source.tokens.size(); ++id)
    by_text.insert(source.tokens[id], static_cast<TokenId>(id));
  for (int byte = 0; byte < 256; ++byte) {
    std::string text;
    core::append_utf8(byte_to_code_point(static_cast<uint8_t>(byte)), text);
    byte_symbols_[static_cast<size_t>(byte)] = by_text.find(text);
  }
  std::string joined;
  for (size_t rank = 0; rank < source.merges.size(); ++rank) {
    const auto& [left, right] = source.merges[rank];
    joined.assign(left).append(right);
    const TokenId left_id = by_text.find(left);
    const TokenId right_id = by_text.find(right);
    const TokenId joined_id = by_text.find(joined);
    if (left_id == kNoToken || right_id == kNoToken || joined_id == kNoToken)
      return core::invalid("vocabulary: merge {} is of '{}' and '{}': no token '{}'", rank, left,
                           right,
                           left_id == kNoToken    ? left
                           : right_id == kNoToken ? right
                                                  : std::string_view(joined));
    merges_.insert(left_id, right_id, {static_cast<uint32_t>(rank), joined_id});
  }
  return {};
}

void Vocabulary::collect_end_of_generation(std::span<const TokenId> ends) {
  std::vector<TokenId>& ids = end_of_generation_;
  for (const TokenId id : {special_.eos, special_.eot})
    if (id != kNoToken) ids.push_back(id);
  std::copy_if(ends.begin(), ends.end(), std::back_inserter(ids),
               [&](TokenId id) { return contains(id); });
  for (const std::string_view text : kEndOfTurnTexts)
    for (const AddedTokens* tokens : {&added_, &added_normalized_})
      if (const AddedToken* token = tokens->find(text)) ids.push_back(token->id);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

std::string_view Vocabulary::bytes(TokenId id) const {
  return contains(id) ? bytes_[static_cast<size_t>(id)] : std::string_view();
}

TokenType Vocabulary::type(TokenId id) const {
  return contains(id) ? types_[static_cast<size_t>(id)] : TokenType::kUnused;
}

bool Vocabulary::is_special(TokenId id) const {
  return type(id) == TokenType::kControl || type(id) == TokenType::kUnknown;
}

bool Vocabulary::is_end_of_generation(TokenId id) const {
  return std::binary_search(end_of_generation_.begin(), end_of_generation_.end(), id);
}

std::optional<TokenId> Vocabulary::find(std::string_view text) const {
  if (const AddedToken* token = added_.find(text)) return token->id;
  if (const AddedToken* token = added_normalized_.find(text)) return token->id;
  const TokenId id = words_.find(text);
  return id == kNoToken ? std::nullopt : std::optional(id);
}

}  // namespace sluice::tokenizer
