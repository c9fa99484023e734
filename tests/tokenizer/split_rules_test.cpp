// The matchers against PCRE2 with the expressions that they stand for.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/split_rules.h"

#include <pcre2.h>

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/rng.h"
#include "core/utf8.h"
#include "tests/tokenizer/random_text.h"
#include "tokenizer/unicode.h"

namespace sluice::tokenizer {
namespace {

using Pieces = std::vector<std::string>;

class Regex {
 public:
  explicit Regex(std::string_view pattern) {
    int error = 0;
    size_t offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY, &error, &offset,
                              nullptr));
    EXPECT_NE(code_, nullptr) << pattern << " at " << offset;
    match_.reset(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
  }

  bool matches(const std::string& text) const {
    return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0,
                       match_.get(), nullptr) > 0;
  }

  // Matches and what lies between them.
  Pieces isolate(const std::string& text) const {
    Pieces pieces;
    size_t done = 0;
    while (done < text.size() && pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                             text.size(), done, 0, match_.get(), nullptr) > 0) {
      const size_t* const bounds = pcre2_get_ovector_pointer(match_.get());
      if (bounds[0] > done) pieces.push_back(text.substr(done, bounds[0] - done));
      pieces.push_back(text.substr(bounds[0], bounds[1] - bounds[0]));
      done = bounds[1];
    }
    if (done < text.size()) pieces.push_back(text.substr(done));
    return pieces;
  }

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_data, Free> match_;
};

Pieces pieces_of(std::span<const SplitRule> rules, std::string_view text) {
  Pieces pieces;
  split(rules, text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

TEST(SplitRules, EveryRuleCutsAsItsExpression) {
  constexpr uint64_t kSeed = 7;
  constexpr int kTexts = 4'000;
  for (const SplitPattern& pattern : split_patterns()) {
    const Regex regex(pattern.regex);
    core::Rng rng(kSeed);
    for (int i = 0; i < kTexts; ++i) {
      const std::string text = random_text(rng, 1 + rng.below(30));
      ASSERT_EQ(pieces_of(std::span(&pattern.rule, 1), text), regex.isolate(text))
          << pattern.regex << ", seed " << kSeed << ", text " << i << ": " << text;
    }
  }
}

TEST(SplitRules, CoveringExpressionsMatchEverything) {
  constexpr uint64_t kSeed = 8;
  core::Rng rng(kSeed);
  for (const SplitPattern& pattern : split_patterns()) {
    if (!pattern.covers_everything) continue;
    const Regex anchored("\\G(?:" + std::string(pattern.regex) + ")");
    for (int i = 0; i < 500; ++i) {
      const std::string text = random_text(rng, 20);
      EXPECT_EQ(anchored.isolate(text), pieces_of(std::span(&pattern.rule, 1), text))
          << pattern.regex << ", seed " << kSeed << ": " << text;
    }
  }
}

TEST(SplitRules, ClassesAreThoseOfPcre2) {
  const struct {
    CharClasses classes;
    Regex regex;
  } kClasses[] = {{kLetter, Regex(R"(\p{L})")}, {kNumber, Regex(R"(\p{N})")},
                  {kMark, Regex(R"(\p{M})")},   {kPunctuation, Regex(R"(\p{P})")},
                  {kSymbol, Regex(R"(\p{S})")}, {kSpace, Regex(R"(\s)")}};
  // The libraries' Unicode versions differ: what one of them calls unassigned is left out.
  const Regex unassigned(R"(\p{Cn})");
  for (uint32_t c = 0; c <= 0x10ffff; ++c) {
    if ((c >= 0xd800 && c <= 0xdfff) || c == 0x180e) continue;  // PCRE2 takes 180E for a space
    std::string text;
    core::append_utf8(c, text);
    const Char ours = read_char(text.data(), text.data() + text.size());
    if (unassigned.matches(text)) continue;
    for (const auto& [classes, regex] : kClasses)
      ASSERT_EQ((ours.classes & classes) != 0, regex.matches(text)) << c;
  }
}

TEST(SplitRules, KnownTexts) {
  const auto with = [](std::string_view name, std::string_view text) {
    return pieces_of(find_pre_tokenizer(name).value()->rules, text);
  };
  EXPECT_EQ(with("smollm", "a 12 b's"), (Pieces{"a", " ", "1", "2", " b", "'s"}));
  EXPECT_EQ(with("gpt-2", "I'M 100%  ok"), (Pieces{"I", "'", "M", " 100", "%", " ", " ok"}));
  EXPECT_EQ(with("llama-bpe", "I'M 1234\r\n\n x"),
            (Pieces{"I", "'M", " ", "123", "4", "\r\n\n", " x"}));
  EXPECT_EQ(with("qwen2", "\tx 12"), (Pieces{"\tx", " ", "1", "2"}));
  EXPECT_EQ(with("qwen2", "e\u0301a"), (Pieces{"e", "\u0301a"}));
  EXPECT_EQ(with("qwen35", "e\u0301a"), (Pieces{"e\u0301a"}));
  EXPECT_EQ(with("deepseek-v3", "(foo)中文x1234"), (Pieces{"(foo", ")", "中文", "x", "123", "4"}));
  EXPECT_EQ(with("deepseek-coder", "a\n\n 中"), (Pieces{"a", "\n", "\n", " ", "中"}));
  EXPECT_EQ(with("deepseek-llm", "Hi, 中文 7  "), (Pieces{"Hi", ",", " ", "中文", " ", "7", "  "}));
}

TEST(SplitRules, LongSIsAnSWithoutRegardToCase) {
  const auto with = [](std::string_view name) {
    return pieces_of(find_pre_tokenizer(name).value()->rules, "a'\u017fb");
  };
  EXPECT_EQ(with("llama-bpe"), (Pieces{"a", "'\u017f", "b"}));
  EXPECT_EQ(with("gpt-2"), (Pieces{"a", "'", "\u017fb"}));
}

TEST(SplitRules, PiecesOfAnyBytesAreTheText) {
  constexpr uint64_t kSeed = 9;
  core::Rng rng(kSeed);
  for (int i = 0; i < 2'000; ++i) {
    const std::string text = random_bytes_text(rng, 25);
    for (const SplitPattern& pattern : split_patterns()) {
      std::string joined;
      for (const std::string& piece : pieces_of(std::span(&pattern.rule, 1), text)) {
        ASSERT_FALSE(piece.empty());
        joined += piece;
      }
      ASSERT_EQ(joined, text) << pattern.regex << ", seed " << kSeed;
    }
  }
}

// A rule that looked at a run once for each of its characters would take minutes here.
TEST(SplitRules, AreLinearInRuns) {
  const std::string runs[] = {std::string(300'000, ' ') + "1",   std::string(300'000, '\n') + "1",
                              std::string(300'000, ' ') + "\n1", std::string(300'000, '\''),
                              std::string(300'000, '\x01'),      std::string(300'000, '7')};
  for (const std::string& text : runs) {
    for (const SplitPattern& pattern : split_patterns()) {
      int64_t bytes = 0;
      split(std::span(&pattern.rule, 1), text,
            [&](std::string_view piece) { bytes += std::ssize(piece); });
      EXPECT_EQ(bytes, std::ssize(text));
    }
  }
}

TEST(SplitRules, UnknownNamesAreUnsupported) {
  const auto name = find_pre_tokenizer("falcon");
  ASSERT_FALSE(name.ok());
  EXPECT_EQ(name.error().code, core::ErrorCode::kUnsupported);
  EXPECT_NE(name.error().message.find("'falcon'"), std::string::npos);
  EXPECT_NE(name.error().message.find("deepseek-v3"), std::string::npos);
  const auto regex = find_split_pattern("[a\n]");
  ASSERT_FALSE(regex.ok());
  EXPECT_NE(regex.error().message.find("[a\\n]"), std::string::npos);
  EXPECT_TRUE(find_split_pattern("[\r\n]").ok());
}

}  // namespace
}  // namespace sluice::tokenizer
