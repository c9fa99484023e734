#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "tokenizer/unicode.h"
#include "tokenizer/vocabulary.h"

namespace sluice::tokenizer {
namespace {

// 0 for the best score; equal scores have equal ranks, so that the leftmost of them merges first.
std::vector<uint32_t> ranks_of(const std::vector<float>& scores) {
  std::vector<float> best_first = scores;
  std::sort(best_first.begin(), best_first.end(), std::greater<>());
  best_first.erase(std::unique(best_first.begin(), best_first.end()), best_first.end());
  std::vector<uint32_t> ranks;
  ranks.reserve(scores.size());
  for (const float score : scores)
    ranks.push_back(static_cast<uint32_t>(
        std::lower_bound(best_first.begin(), best_first.end(), score, std::greater<>()) -
        best_first.begin()));
  return ranks;
}

bool has_space_after_word(std::string_view text) {
  const size_t first = text.find_first_not_of(' ');
  return first != std::string_view::npos && text.find(' ', first) != std::string_view::npos;
}

}  // namespace

// SentencePiece stores no merges: two neighbours merge where their text together is a token. Here
// every such pair is listed beforehand, so that both algorithms share one way of merging.
core::Result<void> Vocabulary::index_sentence_piece(const VocabularySource& source) {
  if (source.scores.size() != source.tokens.size())
    return core::invalid("vocabulary: {} tokens but {} scores", source.tokens.size(),
                         source.scores.size());
  for (const float score : source.scores)
    if (std::isnan(score)) return core::invalid("vocabulary: a score is not a number");
  byte_symbols_.fill(kNoToken);
  spaces_start_words_ = true;
  for (TokenId id = 0; id < size(); ++id) {
    const std::string_view text = bytes(id);
    if (type(id) == TokenType::kByte && text.size() == 1)
      byte_symbols_[static_cast<unsigned char>(text.front())] = id;
    if (type(id) != TokenType::kNormal) continue;
    if (has_space_after_word(text)) spaces_start_words_ = false;
  }
  index_characters();

  const std::vector<uint32_t> ranks = ranks_of(source.scores);
  const auto symbol_of = [this](std::string_view text) {
    const TokenId id = words_.find(text);
    return id != kNoToken ? id : characters_.find(text);
  };
  for (TokenId id = 0; id < size(); ++id) {
    if (type(id) != TokenType::kNormal || words_.find(bytes(id)) != id) continue;
    const std::string_view text = bytes(id);
    const char* const end = text.data() + text.size();
    for (const char* cut = text.data(); cut < end;) {
      cut += char_size_bytes(cut, end);
      if (cut == end) break;
      const int32_t left = symbol_of({text.data(), cut});
      const int32_t right = symbol_of({cut, end});
      if (left >= 0 && right >= 0)
        merges_.insert(left, right, {ranks[static_cast<size_t>(id)], id});
    }
  }
  return {};
}

// Every character of every token gets a symbol: the token that it is, or one beyond the tokens.
void Vocabulary::index_characters() {
  for (TokenId id = 0; id < size(); ++id) {
    if (type(id) != TokenType::kNormal) continue;
    const char* const end = bytes(id).data() + bytes(id).size();
    for (const char* at = bytes(id).data(); at < end;) {
      const std::string_view character(at, static_cast<size_t>(char_size_bytes(at, end)));
      const TokenId token = words_.find(character);
      const auto symbol = static_cast<int32_t>(size() + std::ssize(partial_characters_));
      if (characters_.insert(character, token != kNoToken ? token : symbol) && token == kNoToken)
        partial_characters_.push_back(character);
      at += character.size();
    }
  }
}

}  // namespace sluice::tokenizer
