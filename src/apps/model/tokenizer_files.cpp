#include "apps/model/tokenizer_files.h"

#include <algorithm>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "formats/output_file.h"
#include "tokenizer/split_rules.h"
#include "tokenizer/vocabulary.h"

namespace sluice::apps {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using tokenizer::TokenType;

std::string key(std::string_view name) {
  return fmt::format("tokenizer.ggml.{}", name);
}

core::Result<void> write_json(const fs::path& path, const ordered_json& value) {
  const std::string text = value.dump(1) + "\n";
  const auto file = TRY(formats::OutputFile::open(path.string()));
  TRY(file->resize(0));
  TRY(file->write(0, std::as_bytes(std::span(text))));
  return file->publish();
}

ordered_json byte_level() {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", false}};
}

// Every rule as the expression that it stands for.
ordered_json pre_tokenizer_of(const tokenizer::PreTokenizer& pre) {
  ordered_json steps = ordered_json::array();
  for (const tokenizer::SplitRule rule : pre.rules) {
    const auto patterns = tokenizer::split_patterns();
    const auto found = std::find_if(patterns.begin(), patterns.end(),
                                    [&](const auto& pattern) { return pattern.rule == rule; });
    ASSERT(found != patterns.end(), "a rule of '{}' has no expression", pre.name);
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", found->regex}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back(byte_level());
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

ordered_json added_token(int64_t id, std::string_view text, TokenType type) {
  return {{"id", id},
          {"content", text},
          {"single_word", false},
          {"lstrip", false},
          {"rstrip", false},
          {"normalized", false},
          {"special", type == TokenType::kControl}};
}

struct Tokens {
  std::vector<std::string_view> texts;
  std::vector<int64_t> types;
};

core::Result<Tokens> read_tokens(const formats::Metadata& metadata) {
  Tokens tokens{.texts = TRY(metadata.strings(key("tokens"))), .types = {}};
  if (metadata.has(key("token_type"))) tokens.types = TRY(metadata.integers(key("token_type")));
  tokens.types.resize(tokens.texts.size(), static_cast<int64_t>(TokenType::kNormal));
  return tokens;
}

core::Result<ordered_json> tokenizer_json(const formats::Metadata& metadata, const Tokens& tokens) {
  const std::string_view rules = TRY(metadata.text(key("pre")));
  const tokenizer::PreTokenizer* pre = TRY(tokenizer::find_pre_tokenizer(rules));
  ordered_json added = ordered_json::array(), vocab = ordered_json::object();
  for (size_t i = 0; i < tokens.texts.size(); ++i) {
    const auto type = static_cast<TokenType>(tokens.types[i]);
    if (type == TokenType::kControl || type == TokenType::kUserDefined)
      added.push_back(added_token(static_cast<int64_t>(i), tokens.texts[i], type));
    if (type != TokenType::kUnused) vocab[std::string(tokens.texts[i])] = i;
  }
  ordered_json normalizer;
  if (pre->normalization == tokenizer::Normalization::kNfc) normalizer = {{"type", "NFC"}};
  return ordered_json{{"version", "1.0"},
                      {"truncation", nullptr},
                      {"padding", nullptr},
                      {"added_tokens", added},
                      {"normalizer", normalizer},
                      {"pre_tokenizer", pre_tokenizer_of(*pre)},
                      {"post_processor", nullptr},
                      {"decoder", byte_level()},
                      {"model",
                       {{"type", "BPE"},
                        {"dropout", nullptr},
                        {"unk_token", nullptr},
                        {"continuing_subword_prefix", nullptr},
                        {"end_of_word_suffix", nullptr},
                        {"fuse_unk", false},
                        {"byte_fallback", false},
                        {"ignore_merges", pre->ignore_merges},
                        {"vocab", vocab},
                        {"merges", TRY(metadata.strings(key("merges")))}}}};
}

core::Result<ordered_json> tokenizer_config(const formats::Metadata& metadata,
                                            const Tokens& tokens) {
  ordered_json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                         {"clean_up_tokenization_spaces", false}};
  for (const auto& [name, id_key] : {std::pair("bos_token", "bos_token_id"),
                                     {"eos_token", "eos_token_id"},
                                     {"pad_token", "padding_token_id"}}) {
    const int64_t id = TRY(metadata.integer_or(key(id_key), -1));
    if (id >= 0 && id < std::ssize(tokens.texts))
      config[name] = tokens.texts[static_cast<size_t>(id)];
  }
  const std::string_view rules = TRY(metadata.text(key("pre")));
  const tokenizer::PreTokenizer* pre = TRY(tokenizer::find_pre_tokenizer(rules));
  config["add_bos_token"] = TRY(metadata.flag_or(key("add_bos_token"), pre->adds_bos));
  if (metadata.has("tokenizer.chat_template"))
    config["chat_template"] = TRY(metadata.text("tokenizer.chat_template"));
  return config;
}

core::Result<ordered_json> generation_config(const formats::Metadata& metadata) {
  ordered_json config = ordered_json::object();
  if (metadata.has(key("eos_token_id")))
    config["eos_token_id"] = TRY(metadata.integer(key("eos_token_id")));
  if (metadata.has("general.sampling.temp"))
    config["temperature"] = TRY(metadata.number("general.sampling.temp"));
  if (metadata.has("general.sampling.top_p"))
    config["top_p"] = TRY(metadata.number("general.sampling.top_p"));
  return config;
}

}  // namespace

core::Result<void> write_tokenizer_files(const formats::Metadata& metadata,
                                         const std::string& folder) {
  const std::string_view model = TRY(metadata.text_or(key("model"), "none"));
  if (model == "none") return {};
  if (model != "gpt2")
    return core::unsupported(
        "tokenizer.ggml.model '{}': only byte-level BPE ('gpt2') can be written as tokenizer.json",
        model);
  const Tokens tokens = TRY(read_tokens(metadata));
  const ordered_json vocabulary = TRY(tokenizer_json(metadata, tokens));
  const ordered_json config = TRY(tokenizer_config(metadata, tokens));
  const ordered_json generation = TRY(generation_config(metadata));
  TRY(write_json(fs::path(folder) / "tokenizer.json", vocabulary));
  TRY(write_json(fs::path(folder) / "tokenizer_config.json", config));
  return write_json(fs::path(folder) / "generation_config.json", generation);
}

}  // namespace sluice::apps
