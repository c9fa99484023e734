#include "tokenizer/tokenizer_json.h"

#include <functional>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/tokenizer/vocabularies.h"

namespace sluice::tokenizer {
namespace {

using nlohmann::json;
using Ids = std::vector<TokenId>;

// The smallest file that is read.
json small_file() {
  return json::parse(R"({
    "added_tokens": [{"id": 3, "content": "<e>", "special": true, "normalized": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "post_processor": null,
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
  })");
}

std::string error_of(const std::string& text, std::string_view config = {}) {
  const auto v = read_tokenizer_json({.tokenizer_json = text, .config_json = config});
  return v.ok() ? "" : v.error().message;
}
std::string error_with(const std::function<void(json&)>& change) {
  json file = small_file();
  change(file);
  return error_of(file.dump());
}
Vocabulary read(const json& file, std::string_view config = {}) {
  const std::string text = file.dump();
  return read_tokenizer_json({.tokenizer_json = text, .config_json = config}).value();
}

TEST(TokenizerJson, BothStylesOfMergesAreTheSame) {
  json file = small_file();
  EXPECT_EQ(Encoder(read(file)).encode("aba<e>"), (Ids{2, 0, 3}));
  file["model"]["merges"] = json::array({json::array({"a", "b"})});
  EXPECT_EQ(Encoder(read(file)).encode("aba<e>"), (Ids{2, 0, 3}));
}

TEST(TokenizerJson, GenerationConfigNamesTheIdsThatEndAText) {
  const std::string file = small_file().dump();
  const auto ends = [&](std::string_view generation) {
    const auto v = read_tokenizer_json(
        {.tokenizer_json = file, .config_json = {}, .generation_json = generation});
    if (!v.ok()) return Ids{-1};
    return Ids(v->end_of_generation().begin(), v->end_of_generation().end());
  };
  EXPECT_EQ(ends(R"({"eos_token_id": [3, 1, 3, 99]})"), (Ids{1, 3})) << "no token has 99";
  EXPECT_EQ(ends(R"({"eos_token_id": 2})"), (Ids{2}));
  EXPECT_EQ(ends(R"({"eos_token_id": null})"), (Ids{}));
  EXPECT_EQ(ends(R"({"temperature": 1})"), (Ids{}));
  EXPECT_EQ(ends(R"({"eos_token_id": "x"})"), (Ids{-1}));
}

TEST(TokenizerJson, IgnoreMergesTakesWholeWords) {
  json file = small_file();
  file["model"]["vocab"]["bb"] = 4;  // no merge makes it
  EXPECT_EQ(Encoder(read(file)).encode("bb"), (Ids{1, 1}));
  file["model"]["ignore_merges"] = true;
  EXPECT_EQ(Encoder(read(file)).encode("bb"), Ids{4});
}

TEST(TokenizerJson, TemplatesAndConfigSurroundTexts) {
  json file = small_file();
  file["post_processor"] = json::parse(R"({"type": "Sequence", "processors": [{"type": "ByteLevel"},
    {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<e>"}}, {"Sequence": {"id": "A"}},
      {"SpecialToken": {"id": "<e>"}}], "special_tokens": {"<e>": {"ids": [3]}}}]})");
  const EncodeOptions add{.surrounding_ids = SurroundingIds::kAdd};
  EXPECT_EQ(Encoder(read(file)).encode("a", add), (Ids{3, 0, 3}));
  const Vocabulary v = read(small_file(), R"({"bos_token": {"content": "<e>"}, "eos_token": "ab",
    "pad_token": null, "unk_token": "absent", "add_bos_token": true})");
  EXPECT_EQ(Encoder(v).encode("a", add), (Ids{3, 0}));
  EXPECT_EQ(v.special().bos, 3);
  EXPECT_EQ(v.special().eos, 2);
  EXPECT_EQ(v.special().unk, kNoToken);
  EXPECT_TRUE(v.is_end_of_generation(2));
}

TEST(TokenizerJson, KnownSplitsAreReadInEitherSpelling) {
  json file = small_file();
  const auto with_split = [&](const std::string& regex, const std::string& behavior, bool invert) {
    file["pre_tokenizer"] = json::parse(R"({"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {}}, {"type": "Digits", "individual_digits": true},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})");
    json& split = file["pre_tokenizer"]["pretokenizers"][0];
    split["pattern"]["Regex"] = regex;
    split["behavior"] = behavior;
    split["invert"] = invert;
    return error_of(file.dump());
  };
  EXPECT_EQ(with_split("[\r\n]", "Isolated", false), "");
  EXPECT_EQ(with_split(R"([\r\n])", "Isolated", false), "");
  const std::string qwen2(find_split_pattern(split_patterns()[13].regex).value()->regex);
  EXPECT_EQ(with_split(qwen2, "Removed", true), "");
  EXPECT_EQ(with_split(R"([\r\n])", "Removed", true),
            "tokenizer.json: pre_tokenizer: Split: behavior 'Removed', invert true");
  EXPECT_EQ(
      with_split("(a)+", "Isolated", false),
      "tokenizer.json: pre_tokenizer: pre-tokenizer: the regular expression (a)+ is not known");
}

TEST(TokenizerJson, OtherKindsAreUnsupportedByName) {
  const std::pair<const char*, std::function<void(json&)>> kCases[] = {
      {"model.type 'Unigram'", [](json& f) { f["model"]["type"] = "Unigram"; }},
      {"model.byte_fallback", [](json& f) { f["model"]["byte_fallback"] = true; }},
      {"model.end_of_word_suffix", [](json& f) { f["model"]["end_of_word_suffix"] = "</w>"; }},
      {"normalizer: 'Lowercase'",
       [](json& f) {
         f["normalizer"] = {{"type", "Lowercase"}};
       }},
      {"pre_tokenizer: 'Metaspace'",
       [](json& f) {
         f["pre_tokenizer"] = {{"type", "Metaspace"}};
       }},
      {"add_prefix_space", [](json& f) { f["pre_tokenizer"]["add_prefix_space"] = true; }},
      {"no ByteLevel step", [](json& f) { f["pre_tokenizer"] = nullptr; }},
      {"post_processor: 'BertProcessing'",
       [](json& f) {
         f["post_processor"] = {{"type", "BertProcessing"}};
       }},
      {"decoder: 'WordPiece'",
       [](json& f) {
         f["decoder"] = {{"type", "WordPiece"}};
       }},
  };
  for (const auto& [expected, change] : kCases)
    EXPECT_NE(error_with(change).find(expected), std::string::npos) << error_with(change);
}

TEST(TokenizerJson, BrokenFilesAreErrors) {
  const std::pair<const char*, std::function<void(json&)>> kCases[] = {
      {"'model' is missing", [](json& f) { f.erase("model"); }},
      {"'model.vocab' is missing", [](json& f) { f["model"].erase("vocab"); }},
      {"'model.merges' is missing", [](json& f) { f["model"].erase("merges"); }},
      {"the id of 'a' is not", [](json& f) { f["model"]["vocab"]["a"] = -1; }},
      {"the id of 'a' is not", [](json& f) { f["model"]["vocab"]["a"] = 1 << 22; }},
      {"the id of 'a' is not", [](json& f) { f["model"]["vocab"]["a"] = "0"; }},
      {"the id of 'c' is 1000000, but there are only 4 tokens",
       [](json& f) { f["model"]["vocab"]["c"] = 1'000'000; }},
      {"merge 0 is 'ab', not two", [](json& f) { f["model"]["merges"] = {"ab"}; }},
      {"merge 0 is not two", [](json& f) { f["model"]["merges"] = {{"a"}}; }},
      {"no token 'c'", [](json& f) { f["model"]["merges"] = {"a c"}; }},
      {"added token 3 is empty", [](json& f) { f["added_tokens"][0]["content"] = ""; }},
      {"special is not true or false", [](json& f) { f["added_tokens"][0]["special"] = 1; }},
      {"added_tokens is not an array", [](json& f) { f["added_tokens"] = 1; }},
  };
  for (const auto& [expected, change] : kCases)
    EXPECT_NE(error_with(change).find(expected), std::string::npos)
        << expected << " / " << error_with(change);
  EXPECT_NE(error_of("{").find("tokenizer.json: not JSON"), std::string::npos);
  EXPECT_EQ(error_of("[]"), "tokenizer.json: the file is not an object");
  EXPECT_NE(error_of(small_file().dump(), "x").find("tokenizer_config.json: not JSON"),
            std::string::npos);
}

}  // namespace
}  // namespace sluice::tokenizer
