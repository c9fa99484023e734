// GGUF's keys as config.json.
#include <algorithm>
#include <cmath>
#include <span>

#include <nlohmann/json.hpp>

#include "formats/hugging_face_config.h"
#include "formats/hugging_face_keys.h"

namespace sluice::formats {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kSoftmax = 1, kSigmoid = 2;  // expert_gating_func

class ConfigWriter {
 public:
  ConfigWriter(const Metadata& metadata, std::string_view architecture, const ConfigFacts& facts)
      : metadata_(metadata), architecture_(architecture), facts_(facts) {}

  core::Result<std::string> write() {
    const FamilyRow* family = TRY(find_family());
    config_ = {{"architectures", {family->model_class}},
               {"model_type", family->model_type},
               {"torch_dtype", "bfloat16"},
               {"hidden_act", "silu"},
               {"tie_word_embeddings", facts_.tied_embeddings},
               {"vocab_size", facts_.vocab}};
    const bool is_latent = family->attention == Attention::kLatent;
    TRY(copy(kDecoderKeys));
    TRY(is_latent ? copy(kLatentKeys) : copy(kGroupedQueryKeys));
    const int64_t layers = TRY(metadata_.integer(name("block_count")));
    const int64_t drafts = TRY(metadata_.integer_or(name("nextn_predict_layers"), 0));
    config_["num_hidden_layers"] = layers - drafts;
    if (is_latent) {
      if (drafts > 0) config_["num_nextn_predict_layers"] = drafts;
      TRY(latent_lengths());
      TRY(routing());
    }
    TRY(rope());
    TRY(end_tokens());
    return config_.dump(2) + "\n";
  }

 private:
  std::string name(std::string_view key) const { return fmt::format("{}.{}", architecture_, key); }

  core::Result<const FamilyRow*> find_family() const {
    const int64_t gating = TRY(metadata_.integer_or(name("expert_gating_func"), kSoftmax));
    for (const FamilyRow& row : kFamilies) {
      if (row.architecture != architecture_) continue;
      if (row.model_type == "deepseek_v3" && gating != kSigmoid) continue;
      return &row;
    }
    return core::unsupported("architecture '{}': no Hugging Face folder is known of it",
                             architecture_);
  }

  // Of two keys for one name the first holds.
  core::Result<void> copy(std::span<const KeyRow> rows) {
    for (const KeyRow& row : rows) {
      if (!metadata_.has(name(row.key)) || config_.contains(row.stored)) continue;
      if (row.kind == Kind::kInteger)
        config_[row.stored] = TRY(metadata_.integer(name(row.key)));
      else if (row.kind == Kind::kNumber)
        set_number(&config_, row.stored, TRY(metadata_.number(name(row.key))));
      else
        config_[row.stored] = TRY(metadata_.flag(name(row.key)));
    }
    return {};
  }

  // A float's shortest digits: 1e-06 and not 9.999999974752427e-07.
  static void set_number(ordered_json* to, std::string_view key, double value) {
    (*to)[key] = std::stod(fmt::format("{}", static_cast<float>(value)));
  }

  // A head's lengths stand under "_mla" where the file counts the cache as one key-value head.
  core::Result<void> latent_lengths() {
    const bool apart = metadata_.has(name("attention.key_length_mla"));
    const std::string suffix = apart ? "_mla" : "";
    const int64_t rope = TRY(metadata_.integer(name("rope.dimension_count")));
    config_["qk_nope_head_dim"] =
        TRY(metadata_.integer(name("attention.key_length" + suffix))) - rope;
    config_["v_head_dim"] = TRY(metadata_.integer(name("attention.value_length" + suffix)));
    config_["num_key_value_heads"] = config_["num_attention_heads"];
    config_["rope_interleave"] = true;
    return {};
  }

  core::Result<void> routing() {
    const int64_t gating = TRY(metadata_.integer_or(name("expert_gating_func"), kSoftmax));
    const int64_t groups = TRY(metadata_.integer_or(name("expert_group_count"), 1));
    config_["scoring_func"] = gating == kSigmoid ? "sigmoid" : "softmax";
    config_["topk_method"] = facts_.has_choice_biases ? "noaux_tc"
                             : groups > 1             ? "group_limited_greedy"
                                                      : "greedy";
    config_["n_group"] = groups;
    config_["topk_group"] = TRY(metadata_.integer_or(name("expert_group_used_count"), groups));
    return {};
  }

  core::Result<void> rope() {
    set_number(&config_, "rope_theta", TRY(metadata_.number_or(name("rope.freq_base"), 10000)));
    const std::string_view type = TRY(metadata_.text_or(name("rope.scaling.type"), "none"));
    if (type == "none" || type.empty()) return {};
    ordered_json scaling = {{"rope_type", type}, {"type", type}};
    constexpr std::pair<const char*, const char*> kNumbers[] = {
        {"factor", "factor"},
        {"low_freq_factor", "low_freq_factor"},
        {"high_freq_factor", "high_freq_factor"},
        {"beta_fast", "yarn_beta_fast"},
        {"beta_slow", "yarn_beta_slow"}};
    for (const auto& [stored, key] : kNumbers)
      if (const std::string full = name(fmt::format("rope.scaling.{}", key)); metadata_.has(full))
        set_number(&scaling, stored, TRY(metadata_.number(full)));
    if (const std::string key = name("rope.scaling.original_context_length"); metadata_.has(key))
      scaling["original_max_position_embeddings"] = std::llround(TRY(metadata_.number(key)));
    if (type == "yarn") TRY(yarn_magnitude(&scaling));
    config_["rope_scaling"] = scaling;
    return {};
  }

  core::Result<void> yarn_magnitude(ordered_json* scaling) {
    const double factor = TRY(metadata_.number_or(name("rope.scaling.factor"), 1));
    const double ratio = TRY(metadata_.number_or(name("rope.scaling.attn_factor"), 1));
    const double multiplier = TRY(metadata_.number_or(name("rope.scaling.yarn_log_multiplier"), 0));
    if (multiplier == 0) {
      if (ratio != 1) set_number(scaling, "attention_factor", ratio * (1 + 0.1 * std::log(factor)));
      return {};
    }
    set_number(scaling, "mscale_all_dim", multiplier * 10);
    if (ratio == 1)
      set_number(scaling, "mscale", multiplier * 10);
    else
      set_number(scaling, "attention_factor", ratio);
    return {};
  }

  core::Result<void> end_tokens() {
    for (const auto& [stored, key] : {std::pair("bos_token_id", "tokenizer.ggml.bos_token_id"),
                                      {"eos_token_id", "tokenizer.ggml.eos_token_id"},
                                      {"pad_token_id", "tokenizer.ggml.padding_token_id"}})
      if (metadata_.has(key)) config_[stored] = TRY(metadata_.integer(key));
    return {};
  }

  const Metadata& metadata_;
  const std::string_view architecture_;
  const ConfigFacts& facts_;
  ordered_json config_;
};

}  // namespace

core::Result<std::string> config_of_metadata(const Metadata& metadata, const ConfigFacts& facts) {
  const std::string_view architecture = TRY(metadata.text("general.architecture"));
  return ConfigWriter(metadata, architecture, facts).write();
}

}  // namespace sluice::formats
