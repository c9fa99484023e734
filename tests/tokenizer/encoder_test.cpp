#include "tokenizer/encoder.h"

#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/rng.h"
#include "core/utf8.h"
#include "tests/tokenizer/random_text.h"
#include "tests/tokenizer/vocabularies.h"
#include "tokenizer/decoder.h"

namespace sluice::tokenizer {
namespace {

using Ids = std::vector<TokenId>;

Ids encode(const Vocabulary& v, std::string_view text, EncodeOptions options = {}) {
  return Encoder(v).encode(text, options);
}

std::string bytes_of(const Vocabulary& v, const Ids& ids) {
  std::string bytes;
  for (const TokenId id : ids) bytes += v.bytes(id);
  return bytes;
}

// ---- byte-level ----

TEST(Encoder, ControlTokensAreParsedOrText) {
  const Vocabulary v = smollm2();
  EXPECT_EQ(encode(v, "<|im_end|>"), Ids{2});
  const Ids plain = encode(v, "<|im_end|>", {.special_text = SpecialText::kPlain});
  EXPECT_GT(plain.size(), 1u);
  EXPECT_EQ(bytes_of(v, plain), "<|im_end|>");
}

TEST(Encoder, NonControlAddedTokensAreAlwaysParsed) {
  const Vocabulary v = tiny_deepseek_v3();
  EXPECT_EQ(encode(v, "<think>", {.special_text = SpecialText::kPlain}), Ids{4089});
}

TEST(Encoder, SurroundingIdsAreAddedWhenAsked) {
  const Vocabulary v = tiny_deepseek_v3();
  const Ids bare = encode(v, "Hello");
  Ids expected{0};
  expected.insert(expected.end(), bare.begin(), bare.end());
  EXPECT_EQ(encode(v, "Hello", {.surrounding_ids = SurroundingIds::kAdd}), expected);
  EXPECT_EQ(encode(v, "", {.surrounding_ids = SurroundingIds::kAdd}), Ids{0});
}

TEST(Encoder, OneEncoderGivesTheSameAsMany) {
  constexpr uint64_t kSeed = 21;
  core::Rng rng(kSeed);
  const Vocabulary v = smollm2();
  Encoder kept(v);
  for (int i = 0; i < 300; ++i) {
    const std::string text = random_text(rng, 1 + rng.below(60));
    ASSERT_EQ(kept.encode(text), encode(v, text)) << "seed " << kSeed << ": " << text;
  }
}

TEST(Encoder, AnyBytesComeBack) {
  constexpr uint64_t kSeed = 22;
  core::Rng rng(kSeed);
  const Vocabulary v = tiny_deepseek_v3();
  Encoder encoder(v);
  for (int i = 0; i < 2'000; ++i) {
    const std::string text = random_bytes_text(rng, 1 + rng.below(60));
    const Ids ids = encoder.encode(text);
    ASSERT_EQ(bytes_of(v, ids), text) << "seed " << kSeed << ", text " << i;
    ASSERT_GE(std::ssize(ids) * v.token_bytes_max(), std::ssize(text));
  }
}

TEST(Encoder, NormalizesWhereTheModelAsksForIt) {
  EXPECT_EQ(encode(smollm2("qwen2"), "e\u0301"), encode(smollm2("qwen2"), "é"));
  EXPECT_NE(encode(smollm2("smollm"), "e\u0301"), encode(smollm2("smollm"), "é"));
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// One word of 1 MB: n log n, not n squared.
TEST(Encoder, LongWordsAreQuick) {
  constexpr int64_t kBytes = 1 << 20;
  const Vocabulary v = smollm2("llama-bpe");
  core::Rng rng(23);
  std::string letters;
  for (int64_t i = 0; i < kBytes; ++i) letters.push_back(static_cast<char>('a' + rng.below(26)));
  std::string ideographs;
  while (std::ssize(ideographs) < kBytes)
    core::append_utf8(0x4e00 + static_cast<uint32_t>(rng.below(20'000)), ideographs);
  for (const std::string& text :
       {std::string(kBytes, 'a'), std::string(kBytes, ' '), std::string(kBytes, '\n'),
        std::string(kBytes, '9'), std::string(kBytes, '<'), letters, ideographs}) {
    const auto start = std::chrono::steady_clock::now();
    const Ids ids = encode(v, text);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    EXPECT_LT(seconds.count(), kSanitized ? 20 : 2) << text.substr(0, 8);
    EXPECT_EQ(bytes_of(v, ids), text);
  }
}

// The line of /proc/self/status, in bytes.
int64_t memory_bytes(std::string_view name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(name)) return std::stoll(line.substr(name.size() + 1)) * 1'024;
  return 0;
}

// What `work` needs at its peak.
template <typename Work>
int64_t peak_bytes(Work work) {
  std::ofstream("/proc/self/clear_refs") << 5;  // forget the peak so far
  const int64_t before = memory_bytes("VmRSS");
  work();
  return memory_bytes("VmHWM") - before;
}

TEST(Encoder, OneHugeWordNeedsTheMemoryThatIsPromised) {
  if (kSanitized) GTEST_SKIP() << "sanitizers keep memory of their own";
  constexpr int64_t kBytes = 4 << 20;
  core::Rng rng(24);
  std::string letters;
  for (int64_t i = 0; i < kBytes; ++i) letters.push_back(static_cast<char>('a' + rng.below(26)));
  const Vocabulary v = smollm2("llama-bpe");
  const int64_t bytes = peak_bytes([&] { encode(v, letters); });
  EXPECT_LT(bytes, kBytes * Encoder::kScratchBytesPerByte + (8 << 20));
}

TEST(Encoder, DropsTheMemoryOfLargeTexts) {
  const Vocabulary v = smollm2();
  Encoder encoder(v);
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += " x1";
  encoder.encode(text);
  EXPECT_LE(encoder.scratch_bytes(), Encoder::kScratchBytesMax);
  encoder.encode(std::string(1 << 20, 'a'));
  EXPECT_LE(encoder.scratch_bytes(), Encoder::kScratchBytesMax);
  EXPECT_EQ(encoder.encode("Hello"), encode(v, "Hello"));
  EXPECT_GT(encoder.scratch_bytes(), 0);
}

// ---- added tokens ----

struct Token {
  std::string_view text;
  TokenType type = TokenType::kNormal;
  float score = 0;
};

VocabularySource source_of(std::initializer_list<Token> tokens) {
  VocabularySource source;
  for (const Token& t : tokens) {
    source.tokens.push_back(t.text);
    source.types.push_back(t.type);
    source.scores.push_back(t.score);
  }
  return source;
}

VocabularySource letters_source() {
  VocabularySource source = source_of(
      {{"a"}, {"b"}, {"Ġ"}, {"<x>", TokenType::kUserDefined}, {"<x>>", TokenType::kControl}});
  source.rules = {find_split_pattern(R"(\p{N})").value()->rule};
  return source;
}

TEST(AddedTokens, TheLongestOfTheLeftmostIsTaken) {
  VocabularySource source = letters_source();
  source.added = {{.id = 3, .edges = {}}, {.id = 4, .edges = {}}};
  const Vocabulary v = Vocabulary::build(source).value();
  EXPECT_EQ(encode(v, "a<x>b<x>>a"), (Ids{0, 3, 1, 4, 0}));
  EXPECT_EQ(encode(v, "<x<x>"), (Ids{3}));  // "<x" has no tokens and goes
}

TEST(AddedTokens, EdgesSwallowSpaces) {
  VocabularySource source = letters_source();
  source.added = {{.id = 3, .edges = {.strips_left = true}}};
  EXPECT_EQ(encode(Vocabulary::build(source).value(), "a  <x>  b"), (Ids{0, 3, 2, 2, 1}));
  source.added = {{.id = 3, .edges = {.strips_right = true}}};
  EXPECT_EQ(encode(Vocabulary::build(source).value(), "a  <x>\u3000 b"), (Ids{0, 2, 2, 3, 1}));
  source.added = {{.id = 3, .edges = {.strips_left = true, .strips_right = true}}};
  EXPECT_EQ(encode(Vocabulary::build(source).value(), "<x>  <x> a"), (Ids{3, 3, 0}));
}

// Tokens of spaces, each of which looks for the others around it.
TEST(AddedTokens, SwallowingSpacesTakesTimeOnce) {
  VocabularySource source = letters_source();
  source.tokens[3] = " ";
  for (const MatchEdges edges : {MatchEdges{.strips_left = true}, {.strips_right = true}}) {
    source.added = {{.id = 3, .edges = edges}};
    const Vocabulary v = Vocabulary::build(source).value();
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(encode(v, "a" + std::string(100'000, ' ') + "b").size(), 100'002u);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    EXPECT_LT(seconds.count(), kSanitized ? 20 : 2);
  }
}

TEST(AddedTokens, WholeWordsOnly) {
  VocabularySource source = letters_source();
  source.added = {{.id = 3, .edges = {.whole_word = true}}};
  const Vocabulary v = Vocabulary::build(source).value();
  EXPECT_EQ(encode(v, "<x> a"), (Ids{3, 2, 0}));
  EXPECT_EQ(encode(v, "a<x>"), Ids{0});  // as text: "<x>" has no tokens and goes
  EXPECT_EQ(encode(v, "<x>a"), Ids{0});
  EXPECT_EQ(encode(v, "\u4e2d<x>"), Ids{});
  EXPECT_EQ(encode(v, ".<x>."), Ids{3});
}

TEST(AddedTokens, AreLookedForBeforeOrAfterNormalization) {
  VocabularySource source = letters_source();
  source.tokens[3] = "\u00e9";
  source.normalization = Normalization::kNfc;
  source.added = {{.id = 3, .edges = {}, .after_normalization = true}};
  EXPECT_EQ(encode(Vocabulary::build(source).value(), "ae\u0301b"), (Ids{0, 3, 1}));
  source.added[0].after_normalization = false;
  EXPECT_EQ(encode(Vocabulary::build(source).value(), "ae\u0301b"), (Ids{0, 1}));
  source.tokens[3] = "e\u0301";
  source.added[0].after_normalization = true;
  EXPECT_EQ(Vocabulary::build(source).error().code, core::ErrorCode::kUnsupported);
}

// ---- SentencePiece ----

Vocabulary sentence_piece(std::initializer_list<Token> extra = {}) {
  VocabularySource source = source_of({{"<unk>", TokenType::kUnknown},
                                       {"<s>", TokenType::kControl},
                                       {"▁", TokenType::kNormal, -10},
                                       {"a", TokenType::kNormal, -11},
                                       {"b", TokenType::kNormal, -12},
                                       {"ab", TokenType::kNormal, -2},
                                       {"▁a", TokenType::kNormal, -1},
                                       {"<0x63>", TokenType::kByte},
                                       {"ba", TokenType::kNormal, -2}});
  for (const Token& t : extra) {
    source.tokens.push_back(t.text);
    source.types.push_back(t.type);
    source.scores.push_back(t.score);
  }
  source.algorithm = Algorithm::kSentencePieceBpe;
  source.add_space_prefix = true;
  source.special = {.bos = 1, .unk = 0};
  source.added = {{.id = 1, .edges = {}}};
  source.prefix = {1};
  return Vocabulary::build(source).value();
}

TEST(SentencePiece, TheBestScoreMergesFirstTheLeftmostOfEquals) {
  const Vocabulary v = sentence_piece();
  EXPECT_EQ(encode(v, "ab"), (Ids{6, 4}));      // ▁a before ab
  EXPECT_EQ(encode(v, "bab"), (Ids{2, 8, 4}));  // ba and ab are equal: the left one
  EXPECT_EQ(encode(v, "babab"), (Ids{2, 8, 8, 4}));
}

TEST(SentencePiece, BytesStandInThenTheUnknownToken) {
  const Vocabulary v = sentence_piece();
  EXPECT_EQ(encode(v, "ac"), (Ids{6, 7}));
  EXPECT_EQ(encode(v, "ad"), (Ids{6, 0}));
  EXPECT_EQ(encode(v, "a中"), (Ids{6, 0}));
}

TEST(SentencePiece, ManyUnknownCharactersKeepTheirPlaces) {
  const Vocabulary v = sentence_piece();
  Encoder encoder(v);
  EXPECT_EQ(encoder.encode("中c日abdc"), (Ids{2, 0, 7, 0, 5, 0, 7}));
  if (kSanitized) GTEST_SKIP() << "sanitizers keep memory of their own";
  constexpr int64_t kBytes = 4 << 20;
  const std::string text(kBytes, 'c');
  const int64_t bytes = peak_bytes([&] { EXPECT_EQ(encoder.encode(text).size(), kBytes + 1u); });
  EXPECT_LT(bytes, kBytes * Encoder::kScratchBytesPerByte + (8 << 20));
  EXPECT_LE(encoder.scratch_bytes(), Encoder::kScratchBytesMax);
}

TEST(SentencePiece, CharactersThatAreNoTokensStillMerge) {
  const Vocabulary v =
      sentence_piece({{"ad", TokenType::kNormal, -3}, {"ddd", TokenType::kNormal, -3}});
  EXPECT_EQ(encode(v, "bad"), (Ids{2, 8, 0}));  // ba is better than ad
  EXPECT_EQ(encode(v, "<s>dad"), (Ids{1, 2, 0, 9}));
}

TEST(SentencePiece, ASpaceIsPutBeforeTextsAndAfterControlTokens) {
  const Vocabulary v = sentence_piece();
  EXPECT_EQ(encode(v, "a<s>a"), (Ids{6, 1, 6}));
  EXPECT_EQ(encode(v, ""), Ids{});
  EXPECT_EQ(encode(v, "", {.surrounding_ids = SurroundingIds::kAdd}), Ids{1});
  const Ids ids = encode(v, "ab a");
  EXPECT_EQ(decode(v, ids, {.start = DecodeStart::kText}), "ab a");
  EXPECT_EQ(decode(v, ids, {.start = DecodeStart::kContinuation}), " ab a");
}

TEST(SentencePiece, WordsMergeApartOnlyWhereNoTokenCrossesThem) {
  const Token crossing{"a▁", TokenType::kNormal, -0.5f};
  const Vocabulary v = sentence_piece({crossing});
  EXPECT_EQ(encode(v, "ba a"), (Ids{2, 4, 9, 3}));
}

// ---- building ----

std::string build_error(const VocabularySource& source) {
  const auto v = Vocabulary::build(source);
  return v.ok() ? "" : v.error().message;
}

TEST(Vocabulary, RefusesWhatDoesNotFit) {
  EXPECT_EQ(build_error({}), "vocabulary: no tokens");
  VocabularySource source = letters_source();
  source.merges = {{"a", "b"}};
  EXPECT_EQ(build_error(source), "vocabulary: merge 0 is of 'a' and 'b': no token 'ab'");
  source = letters_source();
  source.types.pop_back();
  EXPECT_EQ(build_error(source), "vocabulary: 5 tokens but 4 token types");
  source = letters_source();
  source.special.eos = 5;
  EXPECT_EQ(build_error(source), "vocabulary: eos token 5 of 5 tokens");
  source = letters_source();
  source.added = {{.id = -1, .edges = {}}};
  EXPECT_EQ(build_error(source), "vocabulary: added token -1 of 5 tokens");
  source = letters_source();
  source.suffix = {7};
  EXPECT_EQ(build_error(source), "vocabulary: token 7 around a text, of 5 tokens");
  source = letters_source();
  const std::string longest(1'025, 'a');
  source.tokens[0] = longest;
  EXPECT_EQ(build_error(source), "vocabulary: token 0 has 1025 bytes, at most 1024 are allowed");
  source = letters_source();
  source.algorithm = Algorithm::kSentencePieceBpe;
  source.scores.pop_back();
  EXPECT_EQ(build_error(source), "vocabulary: 5 tokens but 4 scores");
}

TEST(Vocabulary, FindsTokensAndEndsOfGeneration) {
  const Vocabulary v = tiny_deepseek_v3();
  EXPECT_EQ(v.size(), 4'096);
  EXPECT_EQ(v.find("</think>"), 4090);
  EXPECT_EQ(v.find(" the"), encode(v, " the").front());
  EXPECT_EQ(v.find("no such token"), std::nullopt);
  EXPECT_EQ(v.find(""), std::nullopt);
  EXPECT_EQ(std::vector(v.end_of_generation().begin(), v.end_of_generation().end()), Ids{1});
  EXPECT_TRUE(v.is_special(0));
  EXPECT_FALSE(v.is_special(4090));
  EXPECT_FALSE(v.is_special(-1));
  const Vocabulary chat = smollm2();
  EXPECT_EQ(std::vector(chat.end_of_generation().begin(), chat.end_of_generation().end()),
            (Ids{0, 2}));
}

}  // namespace
}  // namespace sluice::tokenizer
