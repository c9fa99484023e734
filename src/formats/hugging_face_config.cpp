// config.json in GGUF's keys.
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "formats/gguf_writer.h"
#include "formats/hugging_face.h"
#include "formats/hugging_face_keys.h"
#include "formats/hugging_face_quantization.h"
#include "formats/problems.h"

namespace sluice::formats {
namespace {

namespace dom = simdjson::dom;

// Values of one JSON object; what is null is absent, what has the wrong type is a problem.
class Object {
 public:
  Object(dom::object object, std::string where, Problems* problems)
      : object_(object), where_(std::move(where)), problems_(problems) {}

  std::optional<dom::element> find(std::string_view key) const {
    dom::element value;
    if (object_.at_key(key).get(value) != simdjson::SUCCESS || value.is_null()) return std::nullopt;
    return value;
  }
  template <typename T>
  std::optional<T> get(std::string_view key, std::string_view expected) const {
    const auto element = find(key);
    if (!element) return std::nullopt;
    T value;
    if (element->get(value) == simdjson::SUCCESS) return value;
    problems_->add("{}: '{}' is not {}", where_, key, expected);
    return std::nullopt;
  }
  std::optional<int64_t> integer(std::string_view key) const {
    const auto value = get<int64_t>(key, "an integer");
    if (!value || (*value >= 0 && *value <= std::numeric_limits<int32_t>::max())) return value;
    problems_->add("{}: '{}' is {}, expected 0 to {}", where_, key, *value,
                   std::numeric_limits<int32_t>::max());
    return std::nullopt;
  }
  std::optional<double> number(std::string_view key) const { return get<double>(key, "a number"); }
  std::optional<bool> flag(std::string_view key) const { return get<bool>(key, "true or false"); }
  std::optional<std::string_view> text(std::string_view key) const {
    return get<std::string_view>(key, "a string");
  }
  std::optional<Object> object(std::string_view key) const {
    const auto value = get<dom::object>(key, "an object");
    if (!value) return std::nullopt;
    return Object(*value, fmt::format("{}, '{}'", where_, key), problems_);
  }
  void missing(std::string_view key) const { problems_->add("{}: '{}' is missing", where_, key); }
  void unsupported(std::string_view key, std::string_view found, std::string_view expected) const {
    problems_->add("{}: '{}' is '{}', supported: {}", where_, key, found, expected);
  }

 private:
  dom::object object_;
  std::string where_;
  Problems* problems_;
};

class Translator {
 public:
  Translator(const Object& config, const FamilyRow& family, GgufWriter* writer)
      : config_(config), family_(family), writer_(*writer) {}

  void translate(const HuggingFaceConfig& files) {
    writer_.set_text("general.architecture", family_.architecture);
    if (!files.name.empty()) writer_.set_text("general.name", files.name);
    copy(kDecoderKeys);
    if (family_.attention == Attention::kLatent) {
      copy(kLatentKeys);
      latent_lengths();
      routing();
    } else {
      copy(kGroupedQueryKeys);
    }
    if (!config_.flag("tie_word_embeddings").value_or(true)) writer_.set_flag(kHasOutputKey, true);
    layers(files.has_draft_layers);
    layout();
    rope();
    refuse_what_is_not_computed();
  }

 private:
  std::string name(std::string_view key) const {
    return fmt::format("{}.{}", family_.architecture, key);
  }
  void set(std::string_view key, int64_t value) {
    writer_.set_integer(name(key), static_cast<uint32_t>(value));
  }
  void set_number(std::string_view key, double value) {
    writer_.set_number(name(key), static_cast<float>(value));
  }

  void copy(std::span<const KeyRow> rows) {
    for (const KeyRow& row : rows) {
      if (!config_.find(row.stored)) {
        if (row.need == Need::kRequired) config_.missing(row.stored);
        continue;
      }
      if (row.kind == Kind::kInteger) {
        if (const auto value = config_.integer(row.stored)) set(row.key, *value);
      } else if (row.kind == Kind::kNumber) {
        if (const auto value = config_.number(row.stored)) set_number(row.key, *value);
      } else if (const auto value = config_.flag(row.stored)) {
        writer_.set_flag(name(row.key), *value);
      }
    }
  }

  // GGUF counts the layers of multi-token prediction among the blocks; checkpoints often lack them.
  void layers(bool has_draft_layers) {
    const auto own = config_.integer("num_hidden_layers");
    if (!own) return config_.missing("num_hidden_layers");
    const int64_t draft =
        has_draft_layers ? config_.integer("num_nextn_predict_layers").value_or(0) : 0;
    set("block_count", *own + draft);
    if (draft > 0) set("nextn_predict_layers", draft);
  }

  // GGUF gives the lengths of the compressed cache and, under "_mla", those of a head.
  void latent_lengths() {
    const auto nope = config_.integer("qk_nope_head_dim");
    const auto rope = config_.integer("qk_rope_head_dim");
    const auto rank = config_.integer("kv_lora_rank");
    if (!nope) return config_.missing("qk_nope_head_dim");
    set("attention.key_length_mla", *nope + rope.value_or(0));
    set("attention.key_length", rank.value_or(0) + rope.value_or(0));
    set("attention.head_count_kv", 1);
  }

  void routing() {
    const bool sigmoid_by_default = family_.model_type != "deepseek_v2";
    const auto scores =
        config_.text("scoring_func").value_or(sigmoid_by_default ? "sigmoid" : "softmax");
    if (scores != "sigmoid" && scores != "softmax")
      config_.unsupported("scoring_func", scores, "softmax, sigmoid");
    set("expert_gating_func", scores == "sigmoid" ? 2 : 1);
    const auto method = config_.text("topk_method").value_or("noaux_tc");
    if (config_.find("topk_method") && method == "noaux_tc")
      writer_.set_flag(kHasChoiceBiasesKey, true);
    if (method == "greedy") return;  // no groups, whatever their number
    if (method != "noaux_tc" && method != "group_limited_greedy")
      config_.unsupported("topk_method", method, "greedy, group_limited_greedy, noaux_tc");
    set("expert_group_count", config_.integer("n_group").value_or(1));
    set("expert_group_used_count", config_.integer("topk_group").value_or(1));
  }

  void layout() {
    const bool adjacent =
        family_.attention == Attention::kLatent && config_.flag("rope_interleave").value_or(true);
    writer_.set_text(name("rope.layout"), adjacent ? "adjacent_pairs" : "half_split");
  }

  // Newer files have one object "rope_parameters" for base and scaling.
  void rope() {
    const auto parameters = config_.object("rope_parameters");
    const auto base = parameters ? parameters->number("rope_theta") : config_.number("rope_theta");
    if (base) set_number("rope.freq_base", *base);
    const auto scaling = parameters ? parameters : config_.object("rope_scaling");
    if (!scaling) return;
    const auto type = scaling->text(scaling->find("rope_type") ? "rope_type" : "type");
    if (!type || *type == "default") return;
    if (*type != "linear" && *type != "llama3" && *type != "yarn")
      return scaling->unsupported("rope_type", *type, "default, linear, llama3, yarn");
    writer_.set_text(name("rope.scaling.type"), *type);
    const auto factor = scaling->number("factor");
    if (!factor) return scaling->missing("factor");
    set_number("rope.scaling.factor", *factor);
    if (const auto original = scaling->integer("original_max_position_embeddings"))
      set("rope.scaling.original_context_length", *original);
    for (const auto& [stored, key] : {std::pair("low_freq_factor", "low_freq_factor"),
                                      {"high_freq_factor", "high_freq_factor"},
                                      {"beta_fast", "yarn_beta_fast"},
                                      {"beta_slow", "yarn_beta_slow"}})
      if (const auto value = scaling->number(stored))
        set_number(fmt::format("rope.scaling.{}", key), *value);
    if (*type == "yarn" && *factor > 0) yarn_magnitude(*scaling, *factor);
  }

  // Cosines and sines are multiplied with the attention factor; where there is a multiplier for
  // all dimensions, attention's scale takes it and only the ratio is left for them.
  void yarn_magnitude(const Object& scaling, double factor) {
    const auto magnitude = [&](double m) { return 1 + 0.1 * m * std::log(factor); };
    const double part = scaling.number("mscale").value_or(0);
    const double all = scaling.number("mscale_all_dim").value_or(0);
    const double by_default =
        part != 0 && all != 0 ? magnitude(part) / magnitude(all) : magnitude(1);
    const double wanted = scaling.number("attention_factor").value_or(by_default);
    if (all != 0) set_number("rope.scaling.yarn_log_multiplier", 0.1 * all);
    set_number("rope.scaling.attn_factor", all != 0 ? wanted : wanted / magnitude(1));
  }

  void refuse_what_is_not_computed() {
    if (const auto act = config_.text("hidden_act"); act && *act != "silu")
      config_.unsupported("hidden_act", *act, "silu");
    if (config_.flag("use_sliding_window").value_or(false))
      config_.unsupported("use_sliding_window", "true", "false");
    if (family_.model_type == "mistral" && config_.find("sliding_window"))
      config_.unsupported("sliding_window", "a number", "null");
    for (const std::string_view key : {"decoder_sparse_step", "moe_layer_freq"})
      if (const auto step = config_.integer(key); step && *step != 1)
        config_.unsupported(key, fmt::format("{}", *step), "1");
    if (const auto dense = config_.get<dom::array>("mlp_only_layers", "an array");
        dense && dense->size() > 0)
      config_.unsupported("mlp_only_layers", "a list", "an empty list");
  }

  const Object& config_;
  const FamilyRow& family_;
  GgufWriter& writer_;
};

// The recommended temperature and top-p.
void add_sampling(const Object& generation, GgufWriter* writer) {
  if (!generation.flag("do_sample").value_or(true)) return;
  if (const auto value = generation.number("temperature"))
    writer->set_number("general.sampling.temp", static_cast<float>(*value));
  if (const auto value = generation.number("top_p"))
    writer->set_number("general.sampling.top_p", static_cast<float>(*value));
}

// One template, or a list of named ones.
void add_chat_template(const Object& tokenizer, GgufWriter* writer) {
  const auto element = tokenizer.find("chat_template");
  if (!element) return;
  std::string_view text;
  if (element->get(text) == simdjson::SUCCESS)
    return writer->set_text("tokenizer.chat_template", text);
  const auto list = tokenizer.get<dom::array>("chat_template", "a string or a list");
  if (!list) return;
  for (const dom::element entry : *list) {
    std::string_view name;
    if (entry["name"].get(name) == simdjson::SUCCESS && name == "default" &&
        entry["template"].get(text) == simdjson::SUCCESS)
      return writer->set_text("tokenizer.chat_template", text);
  }
}

// A file of JSON with an object at its root.
class Document {
 public:
  std::optional<Object> parse(std::string_view text, std::string_view file, Problems* problems) {
    dom::object root;
    if (const auto error = parser_.parse(text.data(), text.size()).get(root);
        error != simdjson::SUCCESS) {
      problems->add("{}: {}", file, simdjson::error_message(error));
      return std::nullopt;
    }
    return Object(root, std::string(file), problems);
  }

 private:
  dom::parser parser_;
};

// Null: none that is known, a problem.
const FamilyRow* family_of(const Object& config, Problems* problems) {
  const auto type = config.text("model_type");
  std::string known;
  for (const FamilyRow& row : kFamilies) {
    if (type && row.model_type == *type) return &row;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", row.model_type);
  }
  problems->add("config.json: 'model_type' is '{}'; known: {}", type.value_or(""), known);
  return nullptr;
}

void add_quantization(std::string_view config_json, GgufWriter* writer, Problems* problems) {
  const StoredQuantization quantization = read_quantization(config_json, problems);
  if (!quantization.method.empty()) writer->set_text(kQuantMethodKey, quantization.method);
  if (quantization.has_zeros) writer->set_flag(kHasZerosKey, true);
  if (quantization.has_input_groups) writer->set_flag(kHasInputGroupsKey, true);
  if (quantization.int4_layout.empty()) return;
  writer->set_text(kInt4LayoutKey, quantization.int4_layout);
  writer->set_integer(kInt4ZeroOffsetKey, quantization.int4_zero_offset);
}

void add_texts(const HuggingFaceConfig& files, GgufWriter* writer, Problems* problems) {
  Document generation_json, tokenizer_json;
  if (!files.generation.empty())
    if (const auto found =
            generation_json.parse(files.generation, "generation_config.json", problems))
      add_sampling(*found, writer);
  if (!files.chat_template.empty())
    writer->set_text("tokenizer.chat_template", files.chat_template);
  else if (!files.tokenizer.empty())
    if (const auto found = tokenizer_json.parse(files.tokenizer, "tokenizer_config.json", problems))
      add_chat_template(*found, writer);
}

}  // namespace

bool says_has(const Metadata& metadata, std::string_view key) {
  const auto flag = metadata.flag_or(key, false);
  return flag.ok() && *flag;
}

std::string_view config_key(std::string_view architecture, std::string_view key) {
  const bool is_latent =
      std::any_of(std::begin(kFamilies), std::end(kFamilies), [&](const FamilyRow& row) {
        return row.architecture == architecture && row.attention == Attention::kLatent;
      });
  const std::span<const KeyRow> of_attention =
      is_latent ? std::span<const KeyRow>(kLatentKeys) : std::span<const KeyRow>(kGroupedQueryKeys);
  for (const std::span<const KeyRow> rows :
       {std::span<const KeyRow>(kDecoderKeys), of_attention, std::span<const KeyRow>(kOtherKeys)})
    for (const KeyRow& row : rows)
      if (row.key == key) return row.stored;
  return "";
}

core::Result<GgufFile> metadata_of_config(const HuggingFaceConfig& files) {
  Problems problems;
  ConfigFaults faults;
  GgufFile metadata = metadata_of_config(files, &problems, &faults);
  if (!problems.empty()) return problems.error();
  return metadata;
}

GgufFile metadata_of_config(const HuggingFaceConfig& files, Problems* problems,
                            ConfigFaults* faults) {
  GgufWriter writer;
  Document config_json;
  Problems of_keys, of_quantization;
  if (const auto config = config_json.parse(files.config, "config.json", &of_keys)) {
    if (const FamilyRow* family = family_of(*config, &of_keys))
      Translator(*config, *family, &writer).translate(files);
    add_quantization(files.config, &writer, &of_quantization);
  }
  *faults = {.in_keys = !of_keys.empty(), .in_quantization = !of_quantization.empty()};
  problems->add_all(of_keys);
  problems->add_all(of_quantization);
  add_texts(files, &writer, problems);
  auto metadata = read_gguf(memory_source(writer.header()));
  if (metadata.ok()) return std::move(*metadata);
  problems->add("{}", metadata.error().message);
  return read_gguf(memory_source(GgufWriter().header())).value();
}

}  // namespace sluice::formats
