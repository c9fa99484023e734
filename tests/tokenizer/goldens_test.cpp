// Ids that the Python package `tokenizers` gives (tests/data/tokenizer/README.md).
#include <cstdlib>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "formats/checkpoint.h"
#include "tests/tokenizer/vocabularies.h"
#include "tokenizer/decoder.h"
#include "tokenizer/gguf_vocabulary.h"

namespace sluice::tokenizer {
namespace {

void expect_pairs(const Vocabulary& vocabulary, const std::string& file) {
  const auto goldens = nlohmann::json::parse(read_data(file));
  Encoder encoder(vocabulary);
  ASSERT_EQ(goldens["strings"].size(), 200u);
  for (const auto& golden : goldens["strings"]) {
    const auto text = golden["text"].get<std::string>();
    const auto ids = golden["ids"].get<std::vector<TokenId>>();
    EXPECT_EQ(encoder.encode(text), ids) << text;
    EXPECT_EQ(encoder.encode(text), ids) << "from the cache: " << text;
    EXPECT_EQ(decode(vocabulary, ids, {.special = SpecialOutput::kKeep}), text);
  }
}

TEST(Goldens, SmolLm2) {
  expect_pairs(smollm2(), "tokenizer-smollm2.json");
}

TEST(Goldens, TinyDeepSeekV3FromTokenizerJson) {
  expect_pairs(tiny_deepseek_v3(), "tokenizer-tiny-deepseek-v3.json");
}

TEST(Goldens, SmolLm2FromTheDefaultModel) {
  const char* model = std::getenv("SLUICE_MODEL");
  ASSERT_TRUE(model != nullptr && *model != '\0') << "SLUICE_MODEL names no file";
  const auto checkpoint = formats::Checkpoint::open(model).value();
  const Vocabulary vocabulary = read_gguf_vocabulary(checkpoint->metadata()).value();
  expect_pairs(vocabulary, "tokenizer-smollm2.json");
  EXPECT_EQ(vocabulary.size(), 49'152);
  EXPECT_EQ(vocabulary.special().bos, 1);
  EXPECT_TRUE(vocabulary.prefix().empty());
  EXPECT_TRUE(vocabulary.is_end_of_generation(2));
}

}  // namespace
}  // namespace sluice::tokenizer
