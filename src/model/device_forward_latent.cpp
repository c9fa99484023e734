// Latent attention on a device, absorbed for every row, as on the processor.
#include "model/device_forward.h"

namespace sluice::model {

void DeviceForward::attend_latent(const LayerWeights& layer, const kernels::KvLayer& kv,
                                  const Shape& shape) {
  const bool has_rank = spec_.latent.query_rank > 0;
  device_.linear({.hidden = hidden_,
                  .norm = layer.attention_norm,
                  .epsilon = spec_.norm_epsilon,
                  .rows = shape.rows,
                  .products = {{{has_rank ? layer.q_a : layer.q, has_rank ? q_low_ : q_},
                                {layer.kv_a, kv_low_}}},
                  .product_count = 2});
  if (has_rank)
    device_.linear({.hidden = q_low_,
                    .norm = layer.q_a_norm,
                    .epsilon = spec_.norm_epsilon,
                    .rows = shape.rows,
                    .products = {{{layer.q_b, q_}}}});
  end_part(QueuePart::kAttentionProducts);
  device_.latent_attention({.rows = rows_of(shape),
                            .prompts = prompts_,
                            .kv = kv,
                            .heads = spec_.heads,
                            .scale = spec_.attention_scale,
                            .q = q_,
                            .kv_low = kv_low_,
                            .norm = layer.kv_a_norm,
                            .epsilon = spec_.norm_epsilon,
                            .rope = rope(),
                            .k_b = stack_of(layer.k_b),
                            .v_b = stack_of(layer.v_b),
                            .out = attended_});
  end_part(QueuePart::kAttention);
  attention_output(layer, shape.rows);
}

// What attend_latent() stores, and nothing else of it.
void DeviceForward::store_latent_keys(const LayerWeights& layer, const kernels::KvLayer& kv,
                                      const Shape& shape) {
  device_.linear({.hidden = hidden_,
                  .norm = layer.attention_norm,
                  .epsilon = spec_.norm_epsilon,
                  .rows = shape.rows,
                  .products = {{{layer.kv_a, kv_low_}}}});
  device_.latent_attention({.rows = rows_of(shape),
                            .prompts = {},
                            .kv = kv,
                            .kv_low = kv_low_,
                            .norm = layer.kv_a_norm,
                            .epsilon = spec_.norm_epsilon,
                            .rope = rope(),
                            .k_b = {},
                            .v_b = {}});
}

}  // namespace sluice::model
