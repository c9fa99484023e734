// What config.json and GGUF's metadata call the same: read in both directions.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::formats {

enum class Kind : uint8_t { kInteger, kNumber, kFlag };
enum class Need : uint8_t { kRequired, kOptional };

// A value that GGUF has under another name.
struct KeyRow {
  std::string_view stored;
  std::string_view key;  // behind "<architecture>."
  Kind kind = Kind::kInteger;
  Need need = Need::kOptional;
};

inline constexpr KeyRow kDecoderKeys[] = {
    {"hidden_size", "embedding_length", Kind::kInteger, Need::kRequired},
    {"intermediate_size", "feed_forward_length", Kind::kInteger, Need::kRequired},
    {"max_position_embeddings", "context_length", Kind::kInteger, Need::kRequired},
    {"num_attention_heads", "attention.head_count", Kind::kInteger, Need::kRequired},
    {"vocab_size", "vocab_size", Kind::kInteger, Need::kRequired},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", Kind::kNumber, Need::kRequired},
    {"num_experts_per_tok", "expert_used_count"},
    {"moe_intermediate_size", "expert_feed_forward_length"},
    {"norm_topk_prob", "expert_weights_norm", Kind::kFlag},
};
inline constexpr KeyRow kGroupedQueryKeys[] = {
    {"num_key_value_heads", "attention.head_count_kv"},
    {"head_dim", "attention.key_length"},
    {"head_dim", "attention.value_length"},
    {"num_experts", "expert_count"},
};
inline constexpr KeyRow kLatentKeys[] = {
    {"q_lora_rank", "attention.q_lora_rank"},
    {"kv_lora_rank", "attention.kv_lora_rank", Kind::kInteger, Need::kRequired},
    {"kv_lora_rank", "attention.value_length"},
    {"v_head_dim", "attention.value_length_mla", Kind::kInteger, Need::kRequired},
    {"qk_rope_head_dim", "rope.dimension_count", Kind::kInteger, Need::kRequired},
    {"n_routed_experts", "expert_count"},
    {"n_shared_experts", "expert_shared_count"},
    {"routed_scaling_factor", "expert_weights_scale", Kind::kNumber},
    {"first_k_dense_replace", "leading_dense_block_count"},
};

// Values that are more than copied, or lie in an object of their own.
inline constexpr KeyRow kOtherKeys[] = {
    {"num_hidden_layers", "block_count"},
    {"num_nextn_predict_layers", "nextn_predict_layers"},
    {"n_group", "expert_group_count"},
    {"topk_group", "expert_group_used_count"},
    {"qk_nope_head_dim", "attention.key_length_mla"},
    {"rope_theta", "rope.freq_base"},
    {"factor", "rope.scaling.factor"},
    {"original_max_position_embeddings", "rope.scaling.original_context_length"},
    {"low_freq_factor", "rope.scaling.low_freq_factor"},
    {"high_freq_factor", "rope.scaling.high_freq_factor"},
    {"beta_fast", "rope.scaling.yarn_beta_fast"},
    {"beta_slow", "rope.scaling.yarn_beta_slow"},
    {"mscale_all_dim", "rope.scaling.yarn_log_multiplier"},
    {"attention_factor", "rope.scaling.attn_factor"},
};

enum class Attention : uint8_t { kGroupedQuery, kLatent };
struct FamilyRow {
  std::string_view model_type;
  std::string_view architecture;
  std::string_view model_class;
  Attention attention = Attention::kGroupedQuery;
};
// The first row of an architecture is what its GGUF files become; deepseek2's router says more.
inline constexpr FamilyRow kFamilies[] = {
    {"llama", "llama", "LlamaForCausalLM"},
    {"mistral", "llama", "MistralForCausalLM"},
    {"qwen2", "qwen2", "Qwen2ForCausalLM"},
    {"qwen3", "qwen3", "Qwen3ForCausalLM"},
    {"qwen3_moe", "qwen3moe", "Qwen3MoeForCausalLM"},
    {"deepseek_v3", "deepseek2", "DeepseekV3ForCausalLM", Attention::kLatent},
    {"deepseek_v2", "deepseek2", "DeepseekV2ForCausalLM", Attention::kLatent},
    {"kimi_k2", "deepseek2", "DeepseekV3ForCausalLM", Attention::kLatent},
};

// What config.json calls the metadata's "<architecture>.<key>", for messages; empty: nothing.
std::string_view config_key(std::string_view architecture, std::string_view key);

}  // namespace sluice::formats
