#include "tokenizer/split_rules.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include "tokenizer/unicode.h"

namespace sluice::tokenizer {
namespace {

// ---- the expressions ----

constexpr std::string_view kThreeDigitsRegex = R"(\p{N}{1,3})";
constexpr std::string_view kLineBreakRegex = R"([\r\n])";
constexpr std::string_view kTrailingSpacesRegex = R"(\s+$)";
constexpr std::string_view kSpacedLettersRegex = R"(\s?\p{L}+)";
constexpr std::string_view kSpacedPunctuationRegex = R"(\s?\p{P}+)";

constexpr std::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen35Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N})"
    R"(| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepSeekV3Regex =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Expressions of one bracket of ranges, from which the tables below are made.
constexpr std::string_view kHanKanaRegex = "[一-龥぀-ゟ゠-ヿ]+";
constexpr std::string_view kHanHangulRegex = "[一-龥ࠀ-一가-퟿]+";
constexpr std::string_view kSpacedPunctuationRangesRegex = R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)";
constexpr std::string_view kSpacedCasedLettersRegex =
    "\\s?["
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-Ί"
    "ΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿ"
    "ᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛ"
    "ὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥ"
    "ῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴ"
    "ℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭ"
    "Ꚁ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ"
    "𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
    "]+";

// ---- ranges ----

struct Range {
  uint32_t first;
  uint32_t last;
};

// Whole valid UTF-8 only: the literals above.
constexpr uint32_t take_code_point(std::string_view& text) {
  const auto lead = static_cast<unsigned char>(text.front());
  const int size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  uint32_t c = size == 1 ? lead : lead & (0x7fu >> size);
  for (int i = 1; i < size; ++i)
    c = c << 6 | (static_cast<unsigned char>(text[static_cast<size_t>(i)]) & 0x3fu);
  text.remove_prefix(static_cast<size_t>(size));
  return c;
}

// Calls on_range with each range of the expression's bracket, which holds no escapes.
template <typename OnRange>
constexpr void for_each_range(std::string_view regex, OnRange on_range) {
  regex = regex.substr(regex.find('[') + 1);
  regex = regex.substr(0, regex.find(']'));
  while (!regex.empty()) {
    const uint32_t first = take_code_point(regex);
    uint32_t last = first;
    if (!regex.empty() && regex.front() == '-') {
      regex.remove_prefix(1);
      last = take_code_point(regex);
    }
    on_range(Range{first, last});
  }
}
template <const std::string_view& kRegex>
constexpr auto make_ranges() {
  constexpr size_t kCount = [] {
    size_t count = 0;
    for_each_range(kRegex, [&](Range) { ++count; });
    return count;
  }();
  std::array<Range, kCount> ranges{};
  size_t filled = 0;
  for_each_range(kRegex, [&](Range r) { ranges[filled++] = r; });
  std::sort(ranges.begin(), ranges.end(), [](Range a, Range b) { return a.last < b.last; });
  return ranges;
}
template <const std::string_view& kRegex>
constexpr auto kRanges = make_ranges<kRegex>();

// ---- sets of characters ----

template <CharClasses kClasses>
struct InClasses {
  static bool has(Char c) { return (c.classes & kClasses) != 0; }
};
template <const std::string_view& kRegex>
struct InRanges {
  static bool has(Char c) {
    const auto& ranges = kRanges<kRegex>;
    const auto* range = std::lower_bound(ranges.begin(), ranges.end(), c.code_point,
                                         [](Range r, uint32_t value) { return r.last < value; });
    return range != ranges.end() && c.code_point >= range->first;
  }
};

template <typename Set>
const char* skip_set(const char* begin, const char* end) {
  while (begin < end) {
    const Char c = read_char(begin, end);
    if (!Set::has(c)) break;
    begin += c.size_bytes;
  }
  return begin;
}

// ---- matchers: the end of the match that starts at `at`, or `at` where there is none ----

using Matcher = const char* (*)(const char* at, const char* end);

template <typename Set>
const char* match_one(const char* at, const char* end) {
  const Char c = read_char(at, end);
  return Set::has(c) ? at + c.size_bytes : at;
}

template <typename Set>
const char* match_run(const char* at, const char* end) {
  return skip_set<Set>(at, end);
}

const char* match_three_digits(const char* at, const char* end) {
  for (int i = 0; i < 3 && at < end; ++i) at = match_one<InClasses<kNumber>>(at, end);
  return at;
}

// \s? and a run.
template <typename Set>
const char* match_spaced_run(const char* at, const char* end) {
  const char* const run = match_one<InClasses<kSpace>>(at, end);
  if (const char* run_end = skip_set<Set>(run, end); run_end > run) return run_end;
  return skip_set<Set>(at, end);
}

// \s+(?!\S)|\s+ at a space: the last space before a word is left to the word.
const char* match_spaces(const char* at, const char* end) {
  const char* last = at;
  const char* next = at;
  while (next < end) {
    const Char c = read_char(next, end);
    if ((c.classes & kSpace) == 0) return last > at ? last : next;
    last = next;
    next += c.size_bytes;
  }
  return end;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ at a space: up to the last line break of the run, if it has one.
const char* match_spaces_or_lines(const char* at, const char* end) {
  const char* after_line_break = nullptr;
  for (const char* next = at; next < end;) {
    const Char c = read_char(next, end);
    if ((c.classes & kSpace) == 0) break;
    next += c.size_bytes;
    if ((c.classes & kLineBreak) != 0) after_line_break = next;
  }
  return after_line_break != nullptr ? after_line_break : match_spaces(at, end);
}

enum class Case { kSensitive, kInsensitive };

// 's|'t|'re|'ve|'m|'ll|'d at an apostrophe. Without regard to case, U+017F (long s) is an s too.
template <Case kCase>
const char* match_contraction(const char* at, const char* end) {
  const auto letter = [&](int64_t i) -> char {
    if (end - at <= i) return '\0';
    const char c = at[i];
    return kCase == Case::kInsensitive && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char first = letter(1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
  const char second = letter(2);
  if (first == 'l' && second == 'l') return at + 3;
  if ((first == 'r' || first == 'v') && second == 'e') return at + 3;
  if (kCase == Case::kInsensitive && first == '\xc5' && second == '\xbf') return at + 3;
  return at;
}

const char* match_gpt2(const char* at, const char* end) {
  const Char c = read_char(at, end);
  if (c.code_point == '\'') {
    if (const char* e = match_contraction<Case::kSensitive>(at, end); e > at) return e;
  }
  const char* const word = c.code_point == ' ' && at + 1 < end ? at + 1 : at;
  const Char w = read_char(word, end);
  if ((w.classes & kLetter) != 0) return skip(word, end, kLetter);
  if ((w.classes & kNumber) != 0) return skip(word, end, kNumber);
  if ((w.classes & kSpace) == 0) return skip_none(word, end, kSpace | kLetter | kNumber);
  return match_spaces(at, end);
}

// The expressions of Llama 3 and Qwen: kWord is \p{L}, for Qwen 3.5 [\p{L}\p{M}].
template <CharClasses kWord, Matcher kMatchNumber>
const char* match_llama3(const char* at, const char* end) {
  const Char c = read_char(at, end);
  if (c.code_point == '\'') {
    if (const char* e = match_contraction<Case::kInsensitive>(at, end); e > at) return e;
  }
  if ((c.classes & kWord) != 0) return skip(at, end, kWord);
  if ((c.classes & kNumber) != 0) return kMatchNumber(at, end);
  const char* const next = at + c.size_bytes;
  if ((c.classes & kLineBreak) == 0) {
    if (const char* e = skip(next, end, kWord); e > next) return e;
  }
  const char* const other = c.code_point == ' ' ? next : at;
  if (const char* e = skip_none(other, end, kSpace | kWord | kNumber); e > other)
    return skip(e, end, kLineBreak);
  return match_spaces_or_lines(at, end);
}

bool is_ascii_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// DeepSeek-V3's last expression; control characters and numbers may match nothing.
const char* match_deepseek_v3(const char* at, const char* end) {
  const Char c = read_char(at, end);
  const char* const next = at + c.size_bytes;
  if (c.code_point < 128 && (c.classes & (kPunctuation | kSymbol)) != 0) {
    const char* e = next;
    while (e < end && is_ascii_letter(*e)) ++e;
    if (e > next) return e;
  }
  if ((c.classes & (kLetter | kMark)) != 0) return skip(at, end, kLetter | kMark);
  if ((c.classes & (kLineBreak | kPunctuation | kSymbol)) == 0) {
    if (const char* e = skip(next, end, kLetter | kMark); e > next) return e;
  }
  const char* const sign = c.code_point == ' ' ? next : at;
  if (const char* e = skip(sign, end, kPunctuation | kSymbol); e > sign)
    return skip(e, end, kLineBreak);
  return (c.classes & kSpace) != 0 ? match_spaces_or_lines(at, end) : at;
}

// ---- rules ----

// What the matcher matches, and what lies between.
template <Matcher kMatch>
const char* isolate(const char* begin, const char* end) {
  if (const char* e = kMatch(begin, end); e > begin) return e;
  const char* at = begin;
  do {
    at += char_size_bytes(at, end);
  } while (at < end && kMatch(at, end) == at);
  return at;
}

// \s+$
const char* isolate_trailing_spaces(const char* begin, const char* end) {
  const char* const spaces = trailing_spaces({begin, end});
  return spaces == begin ? end : spaces;
}

constexpr SplitRule kDigit = isolate<match_one<InClasses<kNumber>>>;
constexpr SplitRule kThreeDigits = isolate<match_three_digits>;
constexpr SplitRule kLineBreaks = isolate<match_one<InClasses<kLineBreak>>>;
constexpr SplitRule kHanHangul = isolate<match_run<InRanges<kHanHangulRegex>>>;
constexpr SplitRule kHanKana = isolate<match_run<InRanges<kHanKanaRegex>>>;
constexpr SplitRule kSpacedLetters = isolate<match_spaced_run<InClasses<kLetter>>>;
constexpr SplitRule kSpacedPunctuation = isolate<match_spaced_run<InClasses<kPunctuation>>>;
constexpr SplitRule kSpacedCasedLetters =
    isolate<match_spaced_run<InRanges<kSpacedCasedLettersRegex>>>;
constexpr SplitRule kSpacedPunctuationRanges =
    isolate<match_spaced_run<InRanges<kSpacedPunctuationRangesRegex>>>;
constexpr SplitRule kGpt2 = isolate<match_gpt2>;
constexpr SplitRule kLlama3 = isolate<match_llama3<kLetter, match_three_digits>>;
constexpr SplitRule kQwen2 = isolate<match_llama3<kLetter, match_one<InClasses<kNumber>>>>;
constexpr SplitRule kQwen35 = isolate<match_llama3<kLetter | kMark, match_one<InClasses<kNumber>>>>;
constexpr SplitRule kDeepSeekV3 = isolate<match_deepseek_v3>;

constexpr SplitPattern kPatterns[] = {
    {kDigitRegex, kDigit},
    {kDigitsRegex, isolate<match_run<InClasses<kNumber>>>},
    {kThreeDigitsRegex, kThreeDigits},
    {kLineBreakRegex, kLineBreaks},
    {kTrailingSpacesRegex, isolate_trailing_spaces},
    {kSpacedLettersRegex, kSpacedLetters},
    {kSpacedPunctuationRegex, kSpacedPunctuation},
    {kHanKanaRegex, kHanKana},
    {kHanHangulRegex, kHanHangul},
    {kSpacedPunctuationRangesRegex, kSpacedPunctuationRanges},
    {kSpacedCasedLettersRegex, kSpacedCasedLetters},
    {kGpt2Regex, kGpt2, true},
    {kLlama3Regex, kLlama3, true},
    {kQwen2Regex, kQwen2, true},
    {kQwen35Regex, kQwen35, true},
    {kDeepSeekV3Regex, kDeepSeekV3},
};

constexpr SplitRule kSmolLmRules[] = {kDigit, kGpt2};
constexpr SplitRule kGpt2Rules[] = {kGpt2};
constexpr SplitRule kLlama3Rules[] = {kLlama3};
constexpr SplitRule kQwen2Rules[] = {kQwen2};
constexpr SplitRule kQwen35Rules[] = {kQwen35};
constexpr SplitRule kDeepSeekLlmRules[] = {
    kLineBreaks, kSpacedCasedLetters, kSpacedPunctuationRanges, isolate_trailing_spaces, kHanHangul,
    kDigit,
};
constexpr SplitRule kDeepSeekCoderRules[] = {kLineBreaks, kSpacedLetters, kSpacedPunctuation,
                                             kHanHangul, kDigit};
constexpr SplitRule kDeepSeekV3Rules[] = {kThreeDigits, kHanKana, kDeepSeekV3};

constexpr PreTokenizer kPreTokenizers[] = {
    {.name = "smollm", .rules = kSmolLmRules},
    {.name = "gpt-2", .rules = kGpt2Rules},
    {.name = "llama-bpe", .rules = kLlama3Rules, .ignore_merges = true, .adds_bos = true},
    {.name = "llama3", .rules = kLlama3Rules, .ignore_merges = true, .adds_bos = true},
    {.name = "qwen2", .rules = kQwen2Rules, .normalization = Normalization::kNfc},
    {.name = "qwen35", .rules = kQwen35Rules},  // its published pairs keep decomposed characters
    {.name = "deepseek-r1-qwen", .rules = kQwen2Rules, .normalization = Normalization::kNfc},
    {.name = "deepseek-llm", .rules = kDeepSeekLlmRules},
    {.name = "deepseek-coder", .rules = kDeepSeekCoderRules},
    {.name = "deepseek-v3", .rules = kDeepSeekV3Rules},
};

}  // namespace

std::span<const SplitPattern> split_patterns() {
  return kPatterns;
}

core::Result<const PreTokenizer*> find_pre_tokenizer(std::string_view name) {
  std::string known;
  for (const PreTokenizer& p : kPreTokenizers) {
    if (p.name == name) return &p;
    known += known.empty() ? "" : ", ";
    known += p.name;
  }
  return core::unsupported("pre-tokenizer '{}' is not known; these are: {}", name, known);
}

core::Result<const SplitPattern*> find_split_pattern(std::string_view regex) {
  std::string escaped;
  for (const char c : regex) {
    if (c == '\r')
      escaped += "\\r";
    else if (c == '\n')
      escaped += "\\n";
    else
      escaped.push_back(c);
  }
  for (const SplitPattern& p : kPatterns)
    if (p.regex == escaped) return &p;
  return core::unsupported("pre-tokenizer: the regular expression {} is not known", escaped);
}

}  // namespace sluice::tokenizer
