// The vocabularies that tests of this folder share.
#pragma once

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tokenizer/encoder.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/vocabulary.h"

namespace sluice::tokenizer {

inline std::string data_path(const std::string& name) {
  return std::string(SLUICE_TESTS_DIR) + "/data/tokenizer/" + name;
}

inline std::string read_data(const std::string& name) {
  std::ifstream file(data_path(name), std::ios::binary);
  EXPECT_TRUE(file) << data_path(name);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline Vocabulary tiny_deepseek_v3() {
  const std::string tokenizer_json = read_data("tiny-deepseek-v3.tokenizer.json");
  const std::string config_json = read_data("tiny-deepseek-v3.tokenizer_config.json");
  return read_tokenizer_json({.tokenizer_json = tokenizer_json, .config_json = config_json})
      .value();
}

// SmolLM2's tokens and merges, as a GGUF file names them, with any pre-tokenizer.
inline Vocabulary smollm2(std::string_view pre_tokenizer = "smollm") {
  constexpr size_t kTokensWithoutMerge = 252;
  constexpr size_t kControlTokens = 17;
  std::vector<std::string> lines;
  std::ifstream file(data_path("smollm2.merges.txt"));
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  std::vector<std::string> merged;
  merged.reserve(lines.size());
  VocabularySource source;
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string_view line = lines[i];
    if (i < kTokensWithoutMerge) {
      source.tokens.push_back(line);
      continue;
    }
    const size_t space = line.find(' ');
    source.merges.push_back({line.substr(0, space), line.substr(space + 1)});
    merged.push_back(std::string(line.substr(0, space)) += line.substr(space + 1));
    source.tokens.push_back(merged.back());
  }
  source.types.assign(source.tokens.size(), TokenType::kNormal);
  for (size_t id = 0; id < kControlTokens; ++id) {
    source.types[id] = TokenType::kControl;
    source.added.push_back({.id = static_cast<TokenId>(id), .edges = {}});
  }
  const PreTokenizer* pre = find_pre_tokenizer(pre_tokenizer).value();
  source.rules.assign(pre->rules.begin(), pre->rules.end());
  source.normalization = pre->normalization;
  source.special = {.bos = 1, .eos = 2, .unk = 0};
  return Vocabulary::build(source).value();
}

}  // namespace sluice::tokenizer
