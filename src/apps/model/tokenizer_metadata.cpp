#include "apps/model/tokenizer_metadata.h"

#include <filesystem>
#include <fstream>
#include <vector>

#include <nlohmann/json.hpp>

namespace sluice::apps {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int32_t kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5;

// Empty where there is no such file or it is no object.
json read_json(const fs::path& path) {
  std::ifstream in(path);
  json parsed = in ? json::parse(in, nullptr, false) : json();
  return parsed.is_object() ? parsed : json::object();
}

// How GGUF calls the rules that cut a text: by what only they contain.
struct SplitName {
  std::string_view mark;
  std::string_view name;
};
constexpr SplitName kSplitNames[] = {
    {"一-龥", "deepseek-v3"},
    {"\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}", "llama-bpe"},
    {"\\p{L}\\p{N}]?\\p{L}+|\\p{N}|", "qwen2"},
};

core::Result<std::string> split_name(const json& tokenizer) {
  const std::string rules = tokenizer.value("pre_tokenizer", json()).dump();
  for (const SplitName& row : kSplitNames) {
    // As dump() writes a string, without its quotes.
    const std::string mark = json(row.mark).dump();
    if (rules.find(mark.substr(1, mark.size() - 2)) != std::string::npos)
      return std::string(row.name);
  }
  return core::unsupported(
      "tokenizer.json: 'pre_tokenizer' cuts text by rules that GGUF has no "
      "name for: {}",
      rules.substr(0, 200));
}

// What llama.cpp's converter takes for a mark of the template though it is not listed as special:
// <|user|>, <｜User｜>.
bool looks_special(std::string_view text) {
  return (text.starts_with("<|") && text.ends_with("|>")) ||
         (text.starts_with("<｜") && text.ends_with("｜>"));
}

struct Tokens {
  std::vector<std::string> texts;
  std::vector<int32_t> types;

  void set(int64_t id, const std::string& text, int32_t type) {
    if (id < 0 || id >= (int64_t{1} << 24)) return;
    const auto at = static_cast<size_t>(id);
    while (texts.size() <= at) {
      texts.push_back(fmt::format("[PAD{}]", texts.size()));
      types.push_back(kUnused);
    }
    texts[at] = text;
    types[at] = type;
  }
};

Tokens tokens_of(const json& tokenizer, int64_t vocab_size) {
  Tokens tokens;
  for (const auto& [text, id] : tokenizer["model"]["vocab"].items())
    if (id.is_number_integer()) tokens.set(id.get<int64_t>(), text, kNormal);
  for (const json& added : tokenizer.value("added_tokens", json::array())) {
    const std::string text = added.value("content", "");
    const bool is_control = added.value("special", false) || looks_special(text);
    tokens.set(added.value("id", int64_t{-1}), text, is_control ? kControl : kUserDefined);
  }
  if (vocab_size > std::ssize(tokens.texts))
    tokens.set(vocab_size - 1, fmt::format("[PAD{}]", vocab_size - 1), kUnused);
  return tokens;
}

// "a b", or ["a", "b"] in newer files.
std::vector<std::string> merges_of(const json& tokenizer) {
  std::vector<std::string> merges;
  for (const json& merge : tokenizer["model"].value("merges", json::array())) {
    if (merge.is_string()) merges.push_back(merge.get<std::string>());
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
      merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  return merges;
}

void set_special(const json& config, const char* stored, const char* key,
                 formats::GgufWriter* writer) {
  json id = config.value(stored, json());
  if (id.is_array() && !id.empty()) id = id[0];
  if (id.is_number_unsigned()) writer->set_integer(key, id.get<uint32_t>());
}

core::Result<void> add_vocabulary(const std::string& folder, formats::GgufWriter* writer) {
  const json tokenizer = read_json(fs::path(folder) / "tokenizer.json");
  if (tokenizer.empty()) {
    writer->set_text("tokenizer.ggml.model", "none");
    return {};
  }
  const json model = tokenizer.value("model", json::object());
  if (!model.is_object() || model.value("type", "BPE") != "BPE" ||
      !model.value("vocab", json()).is_object())
    return core::unsupported("tokenizer.json: 'model' is no byte-level BPE with a 'vocab'");
  const json config = read_json(fs::path(folder) / "config.json");
  const json tokenizer_config = read_json(fs::path(folder) / "tokenizer_config.json");
  const Tokens tokens = tokens_of(tokenizer, config.value("vocab_size", int64_t{0}));
  const std::string rules = TRY(split_name(tokenizer));
  writer->set_text("tokenizer.ggml.model", "gpt2");
  writer->set_text("tokenizer.ggml.pre", rules);
  writer->set_texts("tokenizer.ggml.tokens", tokens.texts);
  writer->set_integers("tokenizer.ggml.token_type", tokens.types);
  writer->set_texts("tokenizer.ggml.merges", merges_of(tokenizer));
  set_special(config, "bos_token_id", "tokenizer.ggml.bos_token_id", writer);
  set_special(config, "eos_token_id", "tokenizer.ggml.eos_token_id", writer);
  set_special(config, "pad_token_id", "tokenizer.ggml.padding_token_id", writer);
  if (const json add = tokenizer_config.value("add_bos_token", json()); add.is_boolean())
    writer->set_flag("tokenizer.ggml.add_bos_token", add.get<bool>());
  return {};
}

}  // namespace

core::Result<void> add_tokenizer_metadata(const std::string& folder, formats::GgufWriter* writer) {
  try {
    return add_vocabulary(folder, writer);
  } catch (const json::exception& wrong) {
    return core::invalid("tokenizer.json: {}", wrong.what());
  }
}

}  // namespace sluice::apps
