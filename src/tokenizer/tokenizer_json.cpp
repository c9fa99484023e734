#include "tokenizer/tokenizer_json.h"

#include <simdjson.h>

#include <algorithm>
#include <optional>
#include <string>

namespace sluice::tokenizer {
namespace {

namespace dom = simdjson::dom;
using core::Result;

// Ids that no token has, in a file whose vocabulary has gaps: memory goes with the file's size.
constexpr size_t kUnusedIdsMax = 1 << 16;

// ---- access; an absent key and null are the same ----

std::optional<dom::element> member(dom::object object, std::string_view key) {
  dom::element value;
  if (object.at_key(key).get(value) != simdjson::SUCCESS || value.is_null()) return std::nullopt;
  return value;
}

template <typename T>
Result<T> as(dom::element element, std::string_view what, std::string_view expected) {
  T value;
  if (element.get(value) != simdjson::SUCCESS) return core::invalid("{} is not {}", what, expected);
  return value;
}
Result<dom::object> as_object(dom::element e, std::string_view what) {
  return as<dom::object>(e, what, "an object");
}
Result<dom::array> as_array(dom::element e, std::string_view what) {
  return as<dom::array>(e, what, "an array");
}
Result<std::string_view> as_text(dom::element e, std::string_view what) {
  return as<std::string_view>(e, what, "a string");
}

Result<std::string_view> text_at(dom::object object, std::string_view key) {
  const auto value = member(object, key);
  if (!value) return core::invalid("'{}' is missing", key);
  return as_text(*value, key);
}
Result<bool> flag_at(dom::object object, std::string_view key, bool fallback) {
  const auto value = member(object, key);
  return value ? as<bool>(*value, key, "true or false") : fallback;
}
Result<TokenId> as_id(dom::element element, std::string_view what) {
  int64_t id;
  if (element.get(id) != simdjson::SUCCESS || id < 0 || id >= kVocabularyTokensMax)
    return core::invalid("the id of '{}' is not an integer from 0 to {}", what,
                         kVocabularyTokensMax - 1);
  return static_cast<TokenId>(id);
}

// ---- the parts ----

// Calls read(object, type) on an element {"type": …}, or on each of a Sequence's.
template <typename Read>
Result<void> for_each_step(dom::object step, std::string_view list_key, Read&& read) {
  const auto type = TRY(text_at(step, "type"));
  if (type != "Sequence") return read(step, type);
  const auto list = member(step, list_key);
  if (!list) return core::invalid("'{}' is missing", list_key);
  for (const dom::element e : TRY(as_array(*list, list_key))) {
    const auto inner = TRY(as_object(e, list_key));
    TRY(for_each_step(inner, list_key, read));
  }
  return {};
}

class Reader {
 public:
  explicit Reader(dom::object root) : root_(root) {}

  Result<VocabularySource> read() {
    TRY(read_model());
    TRY(read_added_tokens());
    TRY(read_part("normalizer", "normalizers", &Reader::read_normalizer));
    TRY(read_part("pre_tokenizer", "pretokenizers", &Reader::read_pre_tokenizer));
    TRY(read_part("post_processor", "processors", &Reader::read_post_processor));
    TRY(read_part("decoder", "decoders", &Reader::read_decoder));
    if (!is_byte_level_)
      return core::unsupported("pre_tokenizer: no ByteLevel step; only byte-level BPE is read");
    return std::move(source_);
  }

 private:
  using Step = Result<void> (Reader::*)(dom::object, std::string_view type);
  Result<void> read_part(std::string_view key, std::string_view list_key, Step step) {
    const auto part = member(root_, key);
    if (!part) return {};
    const auto object = TRY(as_object(*part, key));
    const auto result = for_each_step(object, list_key, [&](dom::object o, std::string_view type) {
      return (this->*step)(o, type);
    });
    return result.ok() ? Result<void>() : result.error().within(key);
  }

  Result<void> read_model();
  Result<void> read_merges(dom::array merges);
  Result<void> read_added_tokens();
  Result<void> set_token(dom::element id, std::string_view text, TokenType type);
  Result<void> read_normalizer(dom::object step, std::string_view type);
  Result<void> read_pre_tokenizer(dom::object step, std::string_view type);
  Result<void> read_split(dom::object step);
  Result<void> read_post_processor(dom::object step, std::string_view type);
  Result<void> read_template(dom::object step);
  Result<void> read_decoder(dom::object step, std::string_view type);

  dom::object root_;
  VocabularySource source_;
  size_t listed_tokens_ = 0;  // in the vocabulary and added, so far
  bool is_byte_level_ = false;
};

Result<void> Reader::set_token(dom::element element, std::string_view text, TokenType type) {
  const auto id = static_cast<size_t>(TRY(as_id(element, text)));
  if (id >= listed_tokens_ + kUnusedIdsMax)
    return core::invalid("the id of '{}' is {}, but there are only {} tokens", text, id,
                         listed_tokens_);
  if (id >= source_.tokens.size()) {
    source_.tokens.resize(id + 1);
    source_.types.resize(id + 1, TokenType::kUnused);
  }
  source_.tokens[id] = text;
  source_.types[id] = type;
  return {};
}

Result<void> Reader::read_model() {
  const auto part = member(root_, "model");
  if (!part) return core::invalid("'model' is missing");
  const auto model = TRY(as_object(*part, "model"));
  if (const auto type = member(model, "type"))
    if (const auto name = TRY(as_text(*type, "model.type")); name != "BPE")
      return core::unsupported("model.type '{}': only BPE is read", name);
  if (TRY(flag_at(model, "byte_fallback", false)))
    return core::unsupported("model.byte_fallback: only byte-level BPE is read");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (const auto affix = member(model, key); affix && !TRY(as_text(*affix, key)).empty())
      return core::unsupported("model.{} is not known", key);
  source_.ignore_merges = TRY(flag_at(model, "ignore_merges", false));

  const auto vocab = member(model, "vocab");
  if (!vocab) return core::invalid("'model.vocab' is missing");
  const auto tokens = TRY(as_object(*vocab, "model.vocab"));
  listed_tokens_ += tokens.size();
  for (const auto& [text, id] : tokens) TRY(set_token(id, text, TokenType::kNormal));
  const auto merges = member(model, "merges");
  if (!merges) return core::invalid("'model.merges' is missing");
  const auto list = TRY(as_array(*merges, "model.merges"));
  return read_merges(list);
}

// Each is "left right" or ["left", "right"].
Result<void> Reader::read_merges(dom::array merges) {
  for (const dom::element merge : merges) {
    const size_t rank = source_.merges.size();
    std::string_view text;
    dom::array pair;
    if (merge.get(text) == simdjson::SUCCESS) {
      const size_t space = text.find(' ');
      if (space == std::string_view::npos)
        return core::invalid("model.merges: merge {} is '{}', not two tokens", rank, text);
      source_.merges.push_back({text.substr(0, space), text.substr(space + 1)});
    } else if (merge.get(pair) == simdjson::SUCCESS && pair.size() == 2) {
      source_.merges.push_back({TRY(as_text(pair.at(0).value_unsafe(), "model.merges")),
                                TRY(as_text(pair.at(1).value_unsafe(), "model.merges"))});
    } else {
      return core::invalid("model.merges: merge {} is not two tokens", rank);
    }
  }
  return {};
}

Result<void> Reader::read_added_tokens() {
  const auto list = member(root_, "added_tokens");
  if (!list) return {};
  const auto tokens = TRY(as_array(*list, "added_tokens"));
  listed_tokens_ += tokens.size();
  for (const dom::element e : tokens) {
    const auto token = TRY(as_object(e, "added_tokens"));
    const auto text = TRY(text_at(token, "content"));
    const auto id = member(token, "id");
    if (!id) return core::invalid("added_tokens: '{}' has no id", text);
    const bool special = TRY(flag_at(token, "special", false));
    TRY(set_token(*id, text, special ? TokenType::kControl : TokenType::kUserDefined));
    source_.added.push_back({.id = TRY(as_id(*id, text)),
                             .edges = {.strips_left = TRY(flag_at(token, "lstrip", false)),
                                       .strips_right = TRY(flag_at(token, "rstrip", false)),
                                       .whole_word = TRY(flag_at(token, "single_word", false))},
                             .after_normalization = TRY(flag_at(token, "normalized", !special))});
  }
  return {};
}

Result<void> Reader::read_normalizer(dom::object, std::string_view type) {
  if (type != "NFC") return core::unsupported("'{}' is not known; this is: NFC", type);
  source_.normalization = Normalization::kNfc;
  return {};
}

Result<void> Reader::read_pre_tokenizer(dom::object step, std::string_view type) {
  std::string_view regex;
  if (type == "Split") return read_split(step);
  if (type == "Digits") {
    regex = TRY(flag_at(step, "individual_digits", false)) ? kDigitRegex : kDigitsRegex;
  } else if (type == "ByteLevel") {
    if (TRY(flag_at(step, "add_prefix_space", false)))
      return core::unsupported("ByteLevel with add_prefix_space");
    is_byte_level_ = true;
    if (!TRY(flag_at(step, "use_regex", true))) return {};
    regex = kGpt2Regex;
  } else {
    return core::unsupported("'{}' is not known; these are: Sequence, Split, Digits, ByteLevel",
                             type);
  }
  source_.rules.push_back(TRY(find_split_pattern(regex))->rule);
  return {};
}

Result<void> Reader::read_split(dom::object step) {
  const auto pattern = member(step, "pattern");
  if (!pattern) return core::invalid("Split: 'pattern' is missing");
  const auto pattern_object = TRY(as_object(*pattern, "Split.pattern"));
  const auto regex = member(pattern_object, "Regex");
  if (!regex) return core::unsupported("Split: a pattern other than Regex");
  const auto regex_text = TRY(as_text(*regex, "Split.pattern.Regex"));
  const SplitPattern* known = TRY(find_split_pattern(regex_text));
  const auto behavior = TRY(text_at(step, "behavior"));
  const bool invert = TRY(flag_at(step, "invert", false));
  // Where matches leave nothing out it is the same to keep them as to remove the rest.
  const bool keeps_matches = behavior == "Isolated" && !invert;
  const bool removes_rest = behavior == "Removed" && invert && known->covers_everything;
  if (!keeps_matches && !removes_rest)
    return core::unsupported("Split: behavior '{}', invert {}", behavior, invert);
  source_.rules.push_back(known->rule);
  return {};
}

Result<void> Reader::read_post_processor(dom::object step, std::string_view type) {
  if (type == "ByteLevel") return {};  // concerns offsets only
  if (type == "TemplateProcessing") return read_template(step);
  return core::unsupported("'{}' is not known; these are: Sequence, ByteLevel, TemplateProcessing",
                           type);
}

// special_tokens.NAME.ids
std::optional<dom::element> find_template_ids(dom::object step, std::string_view name) {
  std::optional<dom::element> found = member(step, "special_tokens");
  for (const std::string_view key : {name, std::string_view("ids")}) {
    dom::object object;
    if (!found || found->get(object) != simdjson::SUCCESS) return std::nullopt;
    found = member(object, key);
  }
  return found;
}

// "single": special tokens before and after the text, which is {"Sequence": …}.
Result<void> Reader::read_template(dom::object step) {
  const auto single = member(step, "single");
  if (!single) return core::invalid("'single' is missing");
  source_.prefix.clear();
  source_.suffix.clear();
  bool after_text = false;
  for (const dom::element piece : TRY(as_array(*single, "single"))) {
    const auto object = TRY(as_object(piece, "single"));
    if (member(object, "Sequence")) {
      after_text = true;
      continue;
    }
    const auto special = member(object, "SpecialToken");
    if (!special) return core::invalid("single: neither Sequence nor SpecialToken");
    const auto special_object = TRY(as_object(*special, "SpecialToken"));
    const auto name = TRY(text_at(special_object, "id"));
    const auto ids = find_template_ids(step, name);
    if (!ids) return core::invalid("special_tokens: no ids of '{}'", name);
    for (const dom::element element : TRY(as_array(*ids, "ids"))) {
      const TokenId id = TRY(as_id(element, name));
      (after_text ? source_.suffix : source_.prefix).push_back(id);
    }
  }
  return {};
}

Result<void> Reader::read_decoder(dom::object, std::string_view type) {
  if (type == "ByteLevel") return {};
  return core::unsupported("'{}' is not known; this is: ByteLevel", type);
}

// ---- tokenizer_config.json ----

// The token that the key names: "text" or {"content": "text"}.
Result<TokenId> read_special_id(dom::object config, std::string_view key,
                                const VocabularySource& source) {
  auto value = member(config, key);
  if (!value) return kNoToken;
  if (dom::object object; value->get(object) == simdjson::SUCCESS)
    value = member(object, "content");
  if (!value) return core::invalid("{}: 'content' is missing", key);
  const auto text = TRY(as_text(*value, key));
  const auto found = std::find(source.tokens.begin(), source.tokens.end(), text);
  if (text.empty() || found == source.tokens.end()) return kNoToken;
  return static_cast<TokenId>(found - source.tokens.begin());
}

Result<void> read_config(dom::object config, VocabularySource& source) {
  source.special.bos = TRY(read_special_id(config, "bos_token", source));
  source.special.eos = TRY(read_special_id(config, "eos_token", source));
  source.special.unk = TRY(read_special_id(config, "unk_token", source));
  const bool add_bos = TRY(flag_at(config, "add_bos_token", false));
  if (add_bos && source.prefix.empty() && source.special.bos != kNoToken)
    source.prefix.push_back(source.special.bos);
  return {};
}

// "eos_token_id": one or a list.
Result<void> read_generation(dom::object generation, VocabularySource& source) {
  const auto value = member(generation, "eos_token_id");
  if (!value || value->is_null()) return {};
  if (!value->is_array()) {
    source.ends.push_back(TRY(as_id(*value, "eos_token_id")));
    return {};
  }
  for (const dom::element id : TRY(as_array(*value, "eos_token_id")))
    source.ends.push_back(TRY(as_id(id, "eos_token_id")));
  return {};
}

Result<dom::object> parse(dom::parser& parser, std::string_view text) {
  dom::element root;
  if (const auto error = parser.parse(simdjson::padded_string(text)).get(root);
      error != simdjson::SUCCESS)
    return core::invalid("not JSON: {}", simdjson::error_message(error));
  return as_object(root, "the file");
}

Result<VocabularySource> read_files(const TokenizerFiles& files, dom::parser& tokenizer_parser) {
  const auto root = parse(tokenizer_parser, files.tokenizer_json);
  if (!root.ok()) return root.error().within("tokenizer.json");
  Result<VocabularySource> source = Reader(*root).read();
  if (!source.ok()) return source.error().within("tokenizer.json");
  struct Further {
    std::string_view name;
    std::string_view text;
    Result<void> (*read)(dom::object, VocabularySource&);
  };
  for (const Further& file :
       {Further{"tokenizer_config.json", files.config_json, read_config},
        Further{"generation_config.json", files.generation_json, read_generation}}) {
    if (file.text.empty()) continue;
    dom::parser file_parser;
    const auto object = parse(file_parser, file.text);
    if (!object.ok()) return object.error().within(std::string(file.name));
    if (const auto read = file.read(*object, *source); !read.ok())
      return read.error().within(std::string(file.name));
  }
  return source;
}

}  // namespace

core::Result<Vocabulary> read_tokenizer_json(const TokenizerFiles& files) {
  dom::parser parser;  // holds the texts that the source views
  const VocabularySource source = TRY(read_files(files, parser));
  Result<Vocabulary> vocabulary = Vocabulary::build(source);
  if (!vocabulary.ok()) return vocabulary.error().within("tokenizer.json");
  return vocabulary;
}

}  // namespace sluice::tokenizer
