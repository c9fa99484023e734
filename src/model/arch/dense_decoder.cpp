#include "model/arch/dense_decoder.h"

#include <cmath>

namespace sluice::model {
namespace {

// Where no key has a head's dimensions, heads share the hidden state's.
int32_t read_head_dim(Keys& keys, const Spec& spec) {
  if (keys.has("attention.key_length")) return keys.count_or("attention.key_length", 0);
  const bool is_known = keys.are_good({"embedding_length", "attention.head_count"});
  if (is_known && spec.hidden % spec.heads != 0)
    keys.refuse("embedding_length", "{}, its {} heads do not divide it", spec.hidden, spec.heads);
  if (!keys.are_good({"embedding_length", "attention.head_count"}))
    keys.pass_over("attention.key_length");
  return keys.count_or("attention.key_length", spec.hidden / spec.heads);
}

void check_heads(Keys& keys, const Spec& spec) {
  if (keys.are_good({"attention.head_count", "attention.head_count_kv"}) &&
      spec.heads % spec.kv_heads != 0)
    keys.refuse("attention.head_count_kv", "{} heads do not share {} key-value heads evenly",
                spec.heads, spec.kv_heads);
  const int32_t value_length = keys.count_or("attention.value_length", spec.head_dim);
  if (!keys.are_good({"attention.key_length"})) return;
  if (spec.head_dim < 8 || spec.head_dim % 8 != 0 || spec.head_dim > kernels::kHeadDimMax)
    return keys.refuse("attention.key_length", "{}, expected a multiple of 8 from 8 to {}",
                       spec.head_dim, kernels::kHeadDimMax);
  if (keys.are_good({"attention.value_length"}) && value_length != spec.head_dim)
    keys.refuse("attention.value_length", "{}, expected the keys' {}", value_length, spec.head_dim);
}

}  // namespace

Spec read_dense_decoder(Keys& keys, kernels::RopeLayout layout) {
  Spec spec;
  spec.layers = keys.count("block_count");
  spec.hidden = keys.count("embedding_length");
  spec.ffn = keys.count("feed_forward_length");
  spec.context_length = keys.count("context_length");
  spec.heads = keys.count("attention.head_count");
  spec.kv_heads = keys.count_or("attention.head_count_kv", spec.heads);
  if (spec.kv_heads == 0 && keys.are_good({"attention.head_count_kv"}))
    keys.refuse("attention.head_count_kv", "0, expected at least 1");
  spec.head_dim = read_head_dim(keys, spec);
  check_heads(keys, spec);
  check_inputs(keys, spec);
  spec.norm_epsilon = static_cast<float>(keys.positive("attention.layer_norm_rms_epsilon", 1e-5));
  spec.attention_scale = 1.0f / std::sqrt(static_cast<float>(spec.head_dim));
  spec.rope = read_rope(keys, spec.head_dim, spec.context_length);
  spec.rope.layout = read_rope_layout(keys, layout);
  return spec;
}

}  // namespace sluice::model
