// Latent attention, absorbed: scores and values are taken from the latent vectors themselves, so
// that a token costs the cache one short row and no head's keys or values are ever made. One form
// for every row: bits do not depend on what else is in the step.
#include <algorithm>

#include "model/forward.h"

namespace sluice::model {

void Forward::place_latent(Placer& placer) {
  const LatentSpec& latent = spec_.latent;
  if (latent.rank == 0) return;
  LatentRows& l = latent_;
  placer.place(&l.q_low, rows_max_ * latent.query_rank);
  placer.place(&l.kv_low, rows_max_ * (latent.rank + spec_.rope.dims));
  placer.place(&l.latents, rows_max_ * latent.rank);
  placer.place(&l.k_turned, rows_max_ * spec_.rope.dims);
  placer.place(&l.q_turned, rows_max_ * spec_.heads * spec_.rope.dims);
  placer.place(&l.q_nope, rows_max_ * spec_.heads * latent.nope_dims);
  placer.place(&l.q_latent, rows_max_ * spec_.heads * latent.rank);
  placer.place(&l.attended, rows_max_ * spec_.heads * latent.rank);
  placer.place(&l.values, rows_max_ * spec_.heads * latent.value_dims);
  const int64_t inputs_max = std::max(latent.nope_dims, latent.rank);
  l.packed_bytes = 0;
  for (const kernels::ActivationForm form : kPackedForms)
    if (uses(form))
      l.packed_bytes = std::max(l.packed_bytes,
                                core::round_up(ops_.activation_bytes(form, rows_max_, inputs_max),
                                               core::kCacheLineBytes));
  placer.place(&l.packed, pool_.threads() * l.packed_bytes);
}

// Each value of the row's kv_low to the array that wants it.
void Forward::part_latent_key(const LayerWeights& layer, int64_t row) {
  const LatentSpec& latent = spec_.latent;
  const LatentRows& l = latent_;
  const int64_t turned = spec_.rope.dims;
  const float* low = l.kv_low + row * (latent.rank + turned);
  ops_.rms_norm({.x = low,
                 .weight = layer.kv_a_norm,
                 .epsilon = spec_.norm_epsilon,
                 .rows = 1,
                 .columns = latent.rank,
                 .out = l.latents + row * latent.rank},
                0, 1);
  std::copy_n(low + latent.rank, turned, l.k_turned + row * turned);
}

// The same of the q of one of `rows` rows.
void Forward::part_latent_query(int64_t row, int64_t rows) {
  const LatentSpec& latent = spec_.latent;
  const LatentRows& l = latent_;
  const int64_t turned = spec_.rope.dims;
  for (int64_t head = 0; head < spec_.heads; ++head) {
    const float* q = q_ + (row * spec_.heads + head) * spec_.head_dim;
    std::copy_n(q, latent.nope_dims, l.q_nope + (head * rows + row) * latent.nope_dims);
    std::copy_n(q + latent.nope_dims, turned, l.q_turned + (row * spec_.heads + head) * turned);
  }
}

// x (heads, rows, inputs) to y (heads, rows, outputs), each head by its own matrix.
void Forward::linear_heads(Worker& w, const float* x, const std::vector<Matrix>& matrices,
                           float* y) {
  const core::Range heads = core::split(spec_.heads, 1, w.thread, w.threads);
  std::byte* packed = latent_.packed + w.thread * latent_.packed_bytes;
  for (int64_t head = heads.begin; head < heads.end; ++head) {
    const Matrix& matrix = matrices[static_cast<size_t>(head)];
    const float* from = x + head * w.rows * matrix.inputs;
    const kernels::ActivationForm form = ops_.activation_form(matrix.type);
    if (form != kernels::ActivationForm::kF32)
      ops_.quantize_activations(
          {.form = form, .x = from, .rows = w.rows, .inputs = matrix.inputs, .packed = packed}, 0,
          1);
    ops_.linear({.weights = matrix,
                 .x = from,
                 .x_packed = packed,
                 .rows = w.rows,
                 .y = y + head * w.rows * matrix.outputs},
                0, 1);
  }
  lap(w, &StepTimes::linear_ns);
  meet(w);
}

// Into q_, and the latent vectors with the keys that turn into kv_low.
void Forward::latent_products(Worker& w, const LayerWeights& layer) {
  const bool has_rank = spec_.latent.query_rank > 0;
  const Matrix& query = has_rank ? layer.q_a : layer.q;
  normalize(w, layer.attention_norm, {&query, &layer.kv_a});
  linear(w, w.inputs->normed,
         {{.weights = &query, .y = has_rank ? latent_.q_low : q_},
          {.weights = &layer.kv_a, .y = latent_.kv_low}});
  if (!has_rank) return;
  ops_.rms_norm({.x = latent_.q_low,
                 .weight = layer.q_a_norm,
                 .epsilon = spec_.norm_epsilon,
                 .rows = w.rows,
                 .columns = spec_.latent.query_rank,
                 .out = w.inputs->activated},
                w.row_thread, w.row_threads);
  pack(w, w.inputs->activated, {&layer.q_b});
  rows_done(w);
  linear(w, w.inputs->activated, {{.weights = &layer.q_b, .y = q_}});
}

// Those that turn are turned first.
void Forward::store_latents(Worker& w, const kernels::KvLayer& kv) {
  turn({.x = latent_.k_turned, .count = 1, .dims = spec_.rope.dims},
       core::split(w.rows, 1, w.thread, w.threads));
  ops_.latent_store({.kv = kv,
                     .spans = batch_->sequences.data(),
                     .span_count = static_cast<int32_t>(batch_->sequences.size()),
                     .rows = w.rows,
                     .latents = latent_.latents,
                     .turned = latent_.k_turned},
                    w.thread, w.threads);
  lap(w, &StepTimes::rows_ns);
  meet(w);
}

// What attend_latent() stores, and nothing else of it.
void Forward::store_latent_keys(Worker& w, const LayerWeights& layer, const kernels::KvLayer& kv) {
  normalize(w, layer.attention_norm, {&layer.kv_a});
  linear(w, w.inputs->normed, {{.weights = &layer.kv_a, .y = latent_.kv_low}});
  const core::Range rows = core::split(w.rows, 1, w.thread, w.threads);
  for (int64_t row = rows.begin; row < rows.end; ++row) part_latent_key(layer, row);
  store_latents(w, kv);
}

// Into attended_; the layer's latent vectors are stored on the way.
void Forward::attend_latent(Worker& w, const LayerWeights& layer, const kernels::KvLayer& kv) {
  latent_products(w, layer);
  const LatentRows& l = latent_;
  const auto span_count = static_cast<int32_t>(batch_->sequences.size());
  const core::Range rows = core::split(w.rows, 1, w.thread, w.threads);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    part_latent_key(layer, row);
    part_latent_query(row, w.rows);
  }
  turn({.x = l.q_turned, .count = spec_.heads, .dims = spec_.rope.dims}, rows);
  store_latents(w, kv);
  linear_heads(w, l.q_nope, layer.k_b, l.q_latent);
  ops_.latent_attention({.kv = kv,
                         .spans = batch_->sequences.data(),
                         .span_count = span_count,
                         .rows = w.rows,
                         .heads = spec_.heads,
                         .scale = spec_.attention_scale,
                         .q_latent = l.q_latent,
                         .q_turned = l.q_turned,
                         .out = l.attended},
                        w.thread, w.threads);
  lap(w, &StepTimes::attention_ns);
  meet(w);
  // Of one row, by head or by row is the same order.
  linear_heads(w, l.attended, layer.v_b, w.rows == 1 ? attended_ : l.values);
  if (w.rows == 1) return;
  const int64_t value_dims = spec_.latent.value_dims;
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t head = 0; head < spec_.heads; ++head)
      std::copy_n(l.values + (head * w.rows + row) * value_dims, value_dims,
                  attended_ + (row * spec_.heads + head) * value_dims);
  lap(w, &StepTimes::rows_ns);
  meet(w);
}

}  // namespace sluice::model
