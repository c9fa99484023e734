#include "tokenizer/decoder.h"

#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/rng.h"
#include "core/utf8.h"
#include "tests/tokenizer/vocabularies.h"
#include "tokenizer/unicode.h"

namespace sluice::tokenizer {
namespace {

// The definition, over the whole: at a byte that starts no character, the longest beginning of one
// is replaced.
std::string replace_invalid(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const Char c = read_char(bytes.data(), bytes.data() + bytes.size());
    if (c.code_point != kInvalidCodePoint) {
      out += bytes.substr(0, static_cast<size_t>(c.size_bytes));
      bytes.remove_prefix(static_cast<size_t>(c.size_bytes));
      continue;
    }
    // The longest prefix that some continuation makes a character.
    size_t longest = 1;
    for (const std::string_view rest : {"\x80", "\xbf", "\x80\x80", "\xbf\xbf", "\x80\x80\x80",
                                        "\xbf\xbf\xbf", "\x90\x80\x80", "\xa0\x80", "\x8f\xbf\xbf"})
      for (size_t n = 1; n <= 3 && n <= bytes.size(); ++n) {
        const std::string candidate = std::string(bytes.substr(0, n)).append(rest);
        const Char whole = read_char(candidate.data(), candidate.data() + candidate.size());
        if (whole.code_point != kInvalidCodePoint && whole.size_bytes == std::ssize(candidate))
          longest = std::max(longest, n);
      }
    out += "\xef\xbf\xbd";
    bytes.remove_prefix(longest);
  }
  return out;
}

// A vocabulary whose tokens are single bytes.
Vocabulary bytes_vocabulary() {
  std::vector<std::string> names;
  VocabularySource source;
  source.algorithm = Algorithm::kSentencePieceBpe;
  for (int byte = 0; byte < 256; ++byte) names.push_back(fmt::format("<0x{:02X}>", byte));
  source.tokens.assign(names.begin(), names.end());
  source.types.assign(256, TokenType::kByte);
  source.scores.assign(256, 0);
  return Vocabulary::build(source).value();
}

TEST(StreamDecoder, PiecesTogetherAreTheWhole) {
  constexpr uint64_t kSeed = 11;
  core::Rng rng(kSeed);
  const Vocabulary vocabularies[] = {bytes_vocabulary(), tiny_deepseek_v3(), smollm2()};
  for (const Vocabulary& vocabulary : vocabularies) {
    for (int round = 0; round < 3'000; ++round) {
      std::vector<TokenId> ids(static_cast<size_t>(rng.below(40)));
      // Mostly lead and continuation bytes where tokens are bytes.
      for (TokenId& id : ids)
        id = static_cast<TokenId>(rng.below(2) == 0
                                      ? rng.below(vocabulary.size())
                                      : vocabulary.size() / 2 + rng.below(vocabulary.size() / 2));
      std::string bytes;
      std::string streamed;
      StreamDecoder decoder(vocabulary, {.special = SpecialOutput::kKeep});
      for (const TokenId id : ids) {
        bytes += vocabulary.bytes(id);
        const std::string piece = decoder.push(id);
        ASSERT_TRUE(core::is_utf8(piece));
        streamed += piece;
      }
      streamed += decoder.finish();
      ASSERT_EQ(streamed, replace_invalid(bytes)) << "seed " << kSeed << ", round " << round;
      ASSERT_EQ(streamed, decode(vocabulary, ids, {.special = SpecialOutput::kKeep}));
    }
  }
}

TEST(StreamDecoder, GivesACharacterWithItsLastByte) {
  const Vocabulary vocabulary = bytes_vocabulary();
  StreamDecoder decoder(vocabulary);
  EXPECT_EQ(decoder.push(0xe4), "");
  EXPECT_EQ(decoder.push(0xb8), "");
  EXPECT_EQ(decoder.push(0xad), "中");
  EXPECT_EQ(decoder.push('a'), "a");
  EXPECT_EQ(decoder.push(0xf0), "");
  EXPECT_EQ(decoder.push(0x9f), "");
  EXPECT_EQ(decoder.push('b'),
            "\xef\xbf\xbd"
            "b");
  EXPECT_EQ(decoder.push(0xe0), "");
  EXPECT_EQ(decoder.push(0x80), "\xef\xbf\xbd\xef\xbf\xbd");  // overlong: nothing goes on like this
  EXPECT_EQ(decoder.push(0xc3), "");
  EXPECT_EQ(decoder.finish(), "\xef\xbf\xbd");
  EXPECT_EQ(decoder.finish(), "");
}

TEST(Decode, SpecialIdsAreKeptOrSkipped) {
  const Vocabulary v = smollm2();
  const auto ids = Encoder(v).encode("<|im_start|>hi<|im_end|>");
  ASSERT_EQ(ids.front(), 1);
  EXPECT_EQ(decode(v, ids, {.special = SpecialOutput::kKeep}), "<|im_start|>hi<|im_end|>");
  EXPECT_EQ(decode(v, ids, {.special = SpecialOutput::kSkip}), "hi");
  EXPECT_EQ(decode(v, std::vector<TokenId>{-1, 49'152, 1'000'000}), "");
}

}  // namespace
}  // namespace sluice::tokenizer
