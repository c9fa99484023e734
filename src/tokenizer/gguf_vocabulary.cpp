#include "tokenizer/gguf_vocabulary.h"

#include <string>

namespace sluice::tokenizer {
namespace {

std::string key(std::string_view name) {
  return fmt::format("tokenizer.ggml.{}", name);
}

core::Result<std::vector<TokenType>> read_types(const formats::Metadata& metadata) {
  std::vector<TokenType> types;
  if (!metadata.has(key("token_type"))) return types;
  const auto numbers = TRY(metadata.integers(key("token_type")));
  types.reserve(numbers.size());
  for (const int64_t number : numbers) {
    if (number < 1 || number > 6)
      return core::invalid("{}: type {} of token {}, 1 to 6 are allowed", key("token_type"), number,
                           types.size());
    types.push_back(static_cast<TokenType>(number));
  }
  return types;
}

// "left right", each a token: these hold no spaces, except that either may be one.
core::Result<std::vector<VocabularySource::MergePair>> read_merges(
    const formats::Metadata& metadata) {
  std::vector<VocabularySource::MergePair> merges;
  const auto texts = TRY(metadata.strings(key("merges")));
  merges.reserve(texts.size());
  for (const std::string_view text : texts) {
    const size_t space = text.find(' ', 1);
    if (space == std::string_view::npos)
      return core::invalid("{}: merge {} is '{}', not two tokens", key("merges"), merges.size(),
                           text);
    merges.push_back({text.substr(0, space), text.substr(space + 1)});
  }
  return merges;
}

core::Result<TokenId> read_id(const formats::Metadata& metadata, std::string_view name,
                              const VocabularySource& source, TokenId fallback) {
  const int64_t id = TRY(metadata.integer_or(key(name), fallback));
  const bool known = id >= 0 && id < std::ssize(source.tokens);
  return known ? static_cast<TokenId>(id) : kNoToken;
}

// What a file leaves unsaid.
struct Defaults {
  bool add_bos = false;
  bool add_space_prefix = false;
  SpecialIds special;
};

core::Result<void> read_special(const formats::Metadata& metadata, const Defaults& defaults,
                                VocabularySource& source) {
  SpecialIds& s = source.special;
  s.bos = TRY(read_id(metadata, "bos_token_id", source, defaults.special.bos));
  s.eos = TRY(read_id(metadata, "eos_token_id", source, defaults.special.eos));
  s.eot = TRY(read_id(metadata, "eot_token_id", source, kNoToken));
  s.unk = TRY(read_id(metadata, "unknown_token_id", source, defaults.special.unk));
  const bool add_bos = TRY(metadata.flag_or(key("add_bos_token"), defaults.add_bos));
  const bool add_eos = TRY(metadata.flag_or(key("add_eos_token"), false));
  if (add_bos && s.bos != kNoToken) source.prefix.push_back(s.bos);
  if (add_eos && s.eos != kNoToken) source.suffix.push_back(s.eos);
  source.add_space_prefix =
      TRY(metadata.flag_or(key("add_space_prefix"), defaults.add_space_prefix));
  source.remove_extra_whitespaces = TRY(metadata.flag_or(key("remove_extra_whitespaces"), false));
  return {};
}

}  // namespace

core::Result<Vocabulary> read_gguf_vocabulary(const formats::Metadata& metadata) {
  VocabularySource source;
  Defaults defaults;
  const auto model = TRY(metadata.text(key("model")));
  source.tokens = TRY(metadata.strings(key("tokens")));
  source.types = TRY(read_types(metadata));
  if (model == "gpt2") {
    source.algorithm = Algorithm::kByteLevelBpe;
    source.merges = TRY(read_merges(metadata));
    const auto name = TRY(metadata.text(key("pre")));
    const PreTokenizer* pre = TRY(find_pre_tokenizer(name));
    source.rules.assign(pre->rules.begin(), pre->rules.end());
    source.normalization = pre->normalization;
    source.ignore_merges = pre->ignore_merges;
    defaults.add_bos = pre->adds_bos;
  } else if (model == "llama") {
    source.algorithm = Algorithm::kSentencePieceBpe;
    source.scores = TRY(metadata.floats(key("scores")));
    defaults = {
        .add_bos = true, .add_space_prefix = true, .special = {.bos = 1, .eos = 2, .unk = 0}};
  } else {
    return core::unsupported("{}: '{}' is not known; these are: gpt2, llama", key("model"), model);
  }
  for (size_t id = 0; id < source.types.size(); ++id) {
    const TokenType type = source.types[id];
    if (type == TokenType::kControl || type == TokenType::kUserDefined ||
        type == TokenType::kUnknown)
      if (id < source.tokens.size() && !source.tokens[id].empty())
        source.added.push_back({.id = static_cast<TokenId>(id), .edges = {}});
  }
  TRY(read_special(metadata, defaults, source));
  return Vocabulary::build(source);
}

}  // namespace sluice::tokenizer
