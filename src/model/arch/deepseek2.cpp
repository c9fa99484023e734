// DeepSeek V2 and V3, R1, Kimi-K2: latent attention, experts behind some dense layers.
// Sources: arXiv 2405.04434, 2412.19437; GGUF's keys as llama.cpp writes them.
#include <cmath>

#include "model/arch/keys.h"
#include "model/arch/tensors.h"

namespace sluice::model {
namespace {

constexpr int32_t kSigmoid = 2;  // expert_gating_func

// Lengths of a head: under "_mla" where the file counts the cache as one key-value head.
LatentSpec read_latent(Keys& keys, const RopeSpec& rope, Spec* spec) {
  LatentSpec latent;
  latent.rank = keys.count("attention.kv_lora_rank");
  latent.query_rank = keys.count_or("attention.q_lora_rank", 0);
  const bool apart = keys.has("attention.key_length_mla");
  const char* const key_length = apart ? "attention.key_length_mla" : "attention.key_length";
  spec->head_dim = keys.count(key_length);
  latent.value_dims = keys.count(apart ? "attention.value_length_mla" : "attention.value_length");
  latent.nope_dims = spec->head_dim - rope.dims;
  if (keys.are_good({"attention.kv_lora_rank"}) &&
      (latent.rank > kernels::kLatentRankMax || latent.rank % 8 != 0))
    keys.refuse("attention.kv_lora_rank", "{}, expected a multiple of 8 up to {}", latent.rank,
                kernels::kLatentRankMax);
  if (keys.are_good({key_length, "rope.dimension_count"}) && latent.nope_dims < 1)
    keys.refuse(key_length, "{}, of which {} turn", spec->head_dim, rope.dims);
  return latent;
}

// With a multiplier for all dimensions YaRN's magnitude is in attention's scale and not in the
// cosines and sines.
void read_yarn_multiplier(Keys& keys, Spec* spec) {
  if (spec->rope.scaling != RopeScaling::kYarn || !keys.has("rope.scaling.yarn_log_multiplier"))
    return;
  const double multiplier = keys.positive("rope.scaling.yarn_log_multiplier", 0.1);
  const double scale = 1 + multiplier * std::log(spec->rope.factor);
  spec->attention_scale *= static_cast<float>(scale * scale);
  spec->rope.magnitude = keys.positive("rope.scaling.attn_factor", 1);
}

Spec read(Keys& keys) {
  Spec spec;
  spec.layers = keys.count("block_count");
  spec.draft_layers = keys.count_or("nextn_predict_layers", 0);
  if (keys.are_good({"block_count", "nextn_predict_layers"}) && spec.draft_layers >= spec.layers)
    keys.refuse("nextn_predict_layers", "{} of {} layers", spec.draft_layers, spec.layers);
  spec.layers -= spec.draft_layers;
  spec.hidden = keys.count("embedding_length");
  spec.ffn = keys.count("feed_forward_length");
  spec.context_length = keys.count("context_length");
  spec.heads = keys.count("attention.head_count");
  spec.kv_heads = 1;
  spec.norm_epsilon = static_cast<float>(keys.positive("attention.layer_norm_rms_epsilon", 1e-6));
  spec.rope = read_rope(keys, kernels::kLatentRopeMax, spec.context_length);
  spec.rope.layout = read_rope_layout(keys, kernels::RopeLayout::kAdjacentPairs);
  spec.latent = read_latent(keys, spec.rope, &spec);
  spec.attention_scale = 1.0f / std::sqrt(static_cast<float>(spec.head_dim));
  read_yarn_multiplier(keys, &spec);
  const bool sigmoid = keys.count_or("expert_gating_func", 1) == kSigmoid;
  spec.experts = read_experts(
      keys, {.scores = sigmoid ? kernels::RouterScores::kSigmoid : kernels::RouterScores::kSoftmax,
             .group_best = sigmoid ? 2 : 1});
  check_inputs(keys, spec);
  return spec;
}

std::span<const LayerTable> tables() {
  static const LayerTable kAll[] = {block_tensors(), latent_tensors(), dense_ffn_tensors(),
                                    expert_tensors()};
  return kAll;
}

}  // namespace

const Architecture kDeepseek2 = {"deepseek2", read, tables};

}  // namespace sluice::model
