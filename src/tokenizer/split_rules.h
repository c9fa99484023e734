// How a text is cut into words before merging. Each published tokenizer names regular expressions
// that are applied one after the other, each to the pieces of the one before: what it matches is a
// piece, and so is what lies between matches. Here each expression is a hand-written matcher,
// linear in the text (docs/adr/0003-pretokenizers.md); tests hold them against PCRE2.
#pragma once

#include <span>
#include <string_view>

#include "core/result.h"

namespace sluice::tokenizer {

// The end of the first piece of [begin, end), which is not empty.
using SplitRule = const char* (*)(const char* begin, const char* end);

// Expressions that tokenizer.json also means without spelling them.
inline constexpr std::string_view kDigitRegex = R"(\p{N})";
inline constexpr std::string_view kDigitsRegex = R"(\p{N}+)";
inline constexpr std::string_view kGpt2Regex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

enum class Normalization : uint8_t { kNone, kNfc };

// What GGUF's tokenizer.ggml.pre names.
struct PreTokenizer {
  std::string_view name;
  std::span<const SplitRule> rules;
  Normalization normalization = Normalization::kNone;
  // A word that is a token is that token, whatever its merges say.
  bool ignore_merges = false;
  // Texts start with the bos token where the file does not say otherwise.
  bool adds_bos = false;
};

// kUnsupported with the names that are known.
core::Result<const PreTokenizer*> find_pre_tokenizer(std::string_view name);

// One rule and the regular expression that it matches as (in PCRE2's and Oniguruma's syntax).
struct SplitPattern {
  std::string_view regex;
  SplitRule rule;
  // Its matches leave no character out.
  bool covers_everything = false;
};
std::span<const SplitPattern> split_patterns();

// As tokenizer.json spells it; line breaks may stand for themselves or as \r and \n.
// kUnsupported with the expression.
core::Result<const SplitPattern*> find_split_pattern(std::string_view regex);

// Calls on_piece(std::string_view) with each piece, in order.
template <typename OnPiece>
void split(std::span<const SplitRule> rules, std::string_view text, OnPiece&& on_piece) {
  if (rules.empty()) {
    on_piece(text);
    return;
  }
  const char* const end = text.data() + text.size();
  for (const char* begin = text.data(); begin < end;) {
    const char* const piece_end = rules.front()(begin, end);
    split(rules.subspan(1), std::string_view(begin, piece_end), on_piece);
    begin = piece_end;
  }
}

}  // namespace sluice::tokenizer
