#include "model/arch/dense_decoder.h"

#include <cmath>

#include "model/arch/keys.h"

namespace sluice::model {
namespace {

using formats::Metadata;

core::Result<void> check_heads(const Keys& keys, const Spec& spec) {
  if (spec.heads % spec.kv_heads != 0)
    return core::invalid("metadata '{}': {} heads do not share {} key-value heads evenly",
                         keys.name("attention.head_count_kv"), spec.heads, spec.kv_heads);
  if (spec.head_dim < 8 || spec.head_dim % 8 != 0 || spec.head_dim > kernels::kHeadDimMax)
    return core::unsupported("metadata '{}': {}, expected a multiple of 8 from 8 to {}",
                             keys.name("attention.key_length"), spec.head_dim,
                             kernels::kHeadDimMax);
  const int32_t value_length = TRY(keys.count_or("attention.value_length", spec.head_dim));
  if (value_length != spec.head_dim)
    return core::unsupported("metadata '{}': {}, expected the keys' {}",
                             keys.name("attention.value_length"), value_length, spec.head_dim);
  return {};
}

}  // namespace

core::Result<Spec> read_dense_decoder(const Metadata& metadata, std::string_view architecture,
                                      kernels::RopeLayout layout) {
  const Keys keys(metadata, architecture);
  Spec spec;
  spec.architecture = architecture;
  spec.layers = TRY(keys.count("block_count"));
  spec.hidden = TRY(keys.count("embedding_length"));
  spec.ffn = TRY(keys.count("feed_forward_length"));
  spec.context_length = TRY(keys.count("context_length"));
  spec.heads = TRY(keys.count("attention.head_count"));
  spec.kv_heads = TRY(keys.count_or("attention.head_count_kv", spec.heads));
  if (spec.kv_heads == 0)
    return core::invalid("metadata '{}': 0", keys.name("attention.head_count_kv"));
  spec.head_dim = TRY(keys.count_or("attention.key_length", spec.hidden / spec.heads));
  TRY(check_heads(keys, spec));
  TRY(check_inputs(keys, spec));
  spec.norm_epsilon =
      static_cast<float>(TRY(keys.positive("attention.layer_norm_rms_epsilon", 1e-5)));
  spec.attention_scale = 1.0f / std::sqrt(static_cast<float>(spec.head_dim));
  spec.rope = TRY(read_rope(keys, spec.head_dim, spec.context_length));
  spec.rope.layout = TRY(read_rope_layout(keys, layout));
  return spec;
}

}  // namespace sluice::model
