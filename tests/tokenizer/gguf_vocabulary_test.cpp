#include "tokenizer/gguf_vocabulary.h"

#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "tokenizer/encoder.h"

namespace sluice::tokenizer {
namespace {

using Ids = std::vector<TokenId>;
using Texts = std::vector<std::string>;

// The keys of a small vocabulary; tests leave some out or change them.
struct Keys {
  std::string model = "gpt2";
  std::string pre = "smollm";
  Texts tokens = {"<s>", "</s>", "a", "b", "ab"};
  std::vector<int32_t> types = {3, 3, 1, 1, 1};
  Texts merges = {"a b"};
  std::vector<float> scores;
  std::function<void(formats::GgufWriter&)> more = [](formats::GgufWriter&) {};
};

core::Result<Vocabulary> read(const Keys& keys) {
  formats::GgufWriter writer;
  writer.set_text("tokenizer.ggml.model", keys.model);
  if (!keys.pre.empty()) writer.set_text("tokenizer.ggml.pre", keys.pre);
  writer.set_texts("tokenizer.ggml.tokens", keys.tokens);
  writer.set_integers("tokenizer.ggml.token_type", keys.types);
  if (!keys.merges.empty()) writer.set_texts("tokenizer.ggml.merges", keys.merges);
  if (!keys.scores.empty()) writer.set_numbers("tokenizer.ggml.scores", keys.scores);
  keys.more(writer);
  const auto file = formats::read_gguf(formats::memory_source(writer.file()));
  return read_gguf_vocabulary(file.value().metadata);
}

Keys sentence_piece() {
  return {.model = "llama",
          .pre = "",
          .tokens = {"<unk>", "<s>", "</s>", "\u2581", "a", "\u2581a"},
          .types = {2, 3, 3, 1, 1, 1},
          .merges = {},
          .scores = {0, 0, 0, -1, -2, -3}};
}

std::string error_of(const Keys& keys) {
  const auto v = read(keys);
  return v.ok() ? "" : v.error().message;
}

TEST(GgufVocabulary, ReadsByteLevel) {
  Keys keys;
  keys.more = [](formats::GgufWriter& w) {
    w.set_integer("tokenizer.ggml.bos_token_id", 0);
    w.set_integer("tokenizer.ggml.eos_token_id", 1);
    w.set_flag("tokenizer.ggml.add_bos_token", true);
    w.set_flag("tokenizer.ggml.add_eos_token", true);
    w.set_integer("tokenizer.ggml.eot_token_id", 5);  // outside: absent
  };
  const Vocabulary v = read(keys).value();
  EXPECT_EQ(Encoder(v).encode("ab<s>", {.surrounding_ids = SurroundingIds::kAdd}),
            (Ids{0, 4, 0, 1}));
  EXPECT_EQ(v.special().eot, kNoToken);
  EXPECT_TRUE(v.is_end_of_generation(1));
}

TEST(GgufVocabulary, NothingIsAddedToByteLevelTextsUnlessThePreTokenizerSaysSo) {
  Keys keys;
  keys.more = [](formats::GgufWriter& w) { w.set_integer("tokenizer.ggml.bos_token_id", 0); };
  EXPECT_TRUE(read(keys)->prefix().empty());
  keys.pre = "llama-bpe";
  EXPECT_EQ(read(keys)->prefix().size(), 1u);
}

TEST(GgufVocabulary, SentencePieceHasItsOwnDefaults) {
  const Vocabulary v = read(sentence_piece()).value();
  EXPECT_EQ(Encoder(v).encode("a", {.surrounding_ids = SurroundingIds::kAdd}), (Ids{1, 5}));
  EXPECT_EQ(v.special().eos, 2);
  EXPECT_EQ(v.special().unk, 0);
  EXPECT_TRUE(v.adds_space_prefix());
  Keys keys = sentence_piece();
  keys.more = [](formats::GgufWriter& w) {
    w.set_flag("tokenizer.ggml.add_space_prefix", false);
    w.set_flag("tokenizer.ggml.add_bos_token", false);
  };
  const Vocabulary plain = read(keys).value();
  EXPECT_EQ(Encoder(plain).encode("a", {.surrounding_ids = SurroundingIds::kAdd}), Ids{4});
}

TEST(GgufVocabulary, ExtraSpacesGoWhereTheFileSaysSo) {
  Keys keys = sentence_piece();
  EXPECT_EQ(Encoder(read(keys).value()).encode(" a  a "), (Ids{3, 5, 3, 5, 3}));
  keys.more = [](formats::GgufWriter& w) {
    w.set_flag("tokenizer.ggml.remove_extra_whitespaces", true);
  };
  EXPECT_EQ(Encoder(read(keys).value()).encode(" a  a "), (Ids{5, 5}));
  EXPECT_EQ(Encoder(read(keys).value()).encode("   "), Ids{3});
}

TEST(GgufVocabulary, ErrorsNameTheKey) {
  Keys keys;
  keys.model = "bert";
  EXPECT_EQ(error_of(keys), "tokenizer.ggml.model: 'bert' is not known; these are: gpt2, llama");
  keys = {};
  keys.pre = "falcon";
  EXPECT_NE(error_of(keys).find("pre-tokenizer 'falcon' is not known"), std::string::npos);
  keys.pre = "";
  EXPECT_NE(error_of(keys).find("tokenizer.ggml.pre"), std::string::npos);
  keys = {};
  keys.types[2] = 7;
  EXPECT_EQ(error_of(keys), "tokenizer.ggml.token_type: type 7 of token 2, 1 to 6 are allowed");
  keys = {};
  keys.merges = {"ab"};
  EXPECT_EQ(error_of(keys), "tokenizer.ggml.merges: merge 0 is 'ab', not two tokens");
  keys.merges = {};
  EXPECT_NE(error_of(keys).find("tokenizer.ggml.merges"), std::string::npos);
  keys = sentence_piece();
  keys.scores = {};
  EXPECT_NE(error_of(keys).find("tokenizer.ggml.scores"), std::string::npos);
  keys = {};
  keys.more = [](formats::GgufWriter& w) { w.set_text("tokenizer.ggml.eos_token_id", "1"); };
  EXPECT_NE(error_of(keys).find("tokenizer.ggml.eos_token_id"), std::string::npos);
}

}  // namespace
}  // namespace sluice::tokenizer
