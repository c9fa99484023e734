#include "model/forward.h"

#include <algorithm>

#include "core/math.h"
#include "model/rope.h"

namespace sluice::model {
namespace {

// With fewer rows than this, row-wise work costs less than waking the pool.
constexpr int64_t kSharedRowsMin = 4;
using kernels::ActivationForm;
constexpr ActivationForm kPackedForms[] = {ActivationForm::kInt8, ActivationForm::kBf16,
                                           ActivationForm::kPlanes};

}  // namespace

Forward::Forward(const Parts& parts)
    : spec_(parts.spec),
      weights_(parts.weights),
      ops_(parts.ops),
      pool_(parts.pool),
      rows_max_(parts.step_tokens_max) {
  const Vector factors = weights_.rope_factors;
  const auto pairs = static_cast<size_t>(spec_.rope.dims / 2);
  rope_frequencies_ = rope_frequencies(
      spec_.rope, factors == nullptr ? std::span<const float>() : std::span(factors, pairs));
  lay_out();
}

void Forward::lay_out() {
  const int64_t inputs_max = std::max<int64_t>({spec_.hidden, spec_.q_columns(), spec_.ffn});
  int64_t bytes = 0;
  const auto place = [&](auto** out, int64_t size_bytes) {
    using T = std::remove_pointer_t<std::remove_pointer_t<decltype(out)>>;
    if (storage_.data() != nullptr) *out = reinterpret_cast<T*>(storage_.data() + bytes);
    bytes += core::round_up(size_bytes, core::kCacheLineBytes);
  };
  const auto place_rows = [&](auto** out, int64_t columns) {
    place(out, rows_max_ * columns * static_cast<int64_t>(sizeof **out));
  };
  const auto place_all = [&] {
    bytes = 0;
    place_rows(&hidden_, spec_.hidden);
    place_rows(&normed_, spec_.hidden);
    for (const ActivationForm form : kPackedForms)
      if (uses(form)) place(&packed(form), ops_.activation_bytes(form, rows_max_, inputs_max));
    place_rows(&q_, spec_.q_columns());
    place_rows(&k_, spec_.kv_columns());
    place_rows(&v_, spec_.kv_columns());
    place_rows(&attended_, spec_.q_columns());
    place_rows(&gate_, spec_.ffn);
    place_rows(&up_, spec_.ffn);
    place_rows(&cosines_, spec_.rope.dims / 2);
    place_rows(&sines_, spec_.rope.dims / 2);
    place_rows(&positions_, 1);
    place_rows(&row_index_, 1);
  };
  place_all();  // measures
  storage_ = core::Buffer(bytes);
  place_all();
  for (int32_t row = 0; row < rows_max_; ++row) row_index_[row] = row;
}

bool Forward::uses(ActivationForm form) const {
  return std::any_of(weights_.sources.begin(), weights_.sources.end(), [&](const auto& source) {
    return ops_.activation_form(source.matrix->type) == form;
  });
}

std::byte*& Forward::packed(ActivationForm form) {
  return packed_[static_cast<size_t>(form)];
}

template <typename Work>
void Forward::for_rows(int64_t rows, const Work& work) {
  if (rows < kSharedRowsMin)
    work(0, 1);
  else
    pool_.run(work);
}

void Forward::normalize(const float* x, Vector weight, int thread, int threads) {
  ops_.rms_norm({.x = x,
                 .weight = weight,
                 .epsilon = spec_.norm_epsilon,
                 .rows = rows_,
                 .columns = spec_.hidden,
                 .out = normed_},
                thread, threads);
}

// The split is by rows of the step, as in all row-wise work, and not by heads.
void Forward::normalize_heads(const Heads& heads, int thread, int threads) {
  if (heads.norm == nullptr) return;
  const core::Range range = core::split(rows_, 1, thread, threads);
  float* first = heads.x + range.begin * heads.count * spec_.head_dim;
  ops_.rms_norm({.x = first,
                 .weight = heads.norm,
                 .epsilon = spec_.norm_epsilon,
                 .rows = (range.end - range.begin) * heads.count,
                 .columns = spec_.head_dim,
                 .out = first},
                0, 1);
}

void Forward::turn(const Heads& heads, int thread, int threads) {
  ops_.rope({.x = heads.x,
             .rows = rows_,
             .heads = heads.count,
             .head_dim = spec_.head_dim,
             .rope_dims = spec_.rope.dims,
             .positions = row_index_,
             .cosines = cosines_,
             .sines = sines_,
             .layout = spec_.rope.layout},
            thread, threads);
}

void Forward::quantize(const float* x, std::span<const Matrix* const> users, int thread,
                       int threads) {
  for (const ActivationForm form : kPackedForms) {
    const auto wants = [&](const Matrix* user) { return ops_.activation_form(user->type) == form; };
    if (std::none_of(users.begin(), users.end(), wants)) continue;
    ops_.quantize_activations({.form = form,
                               .x = x,
                               .rows = rows_,
                               .inputs = users.front()->inputs,
                               .packed = packed(form)},
                              thread, threads);
  }
}

void Forward::linear(const float* x, int64_t rows, std::initializer_list<Product> products) {
  pool_.run([&](int thread, int threads) {
    for (const Product& p : products)
      ops_.linear({.weights = *p.weights,
                   .x = x,
                   .x_packed = packed(ops_.activation_form(p.weights->type)),
                   .rows = rows,
                   .bias = p.bias,
                   .residual = p.residual,
                   .y = p.y},
                  thread, threads);
  });
}

// Into attended_; the layer's keys and values are stored on the way.
void Forward::attend(const LayerWeights& w, const kernels::KvLayer& kv) {
  for_rows(rows_, [&](int thread, int threads) {
    normalize(hidden_, w.attention_norm, thread, threads);
    quantize(normed_, {{&w.q, &w.k, &w.v}}, thread, threads);
  });
  linear(normed_, rows_,
         {{.weights = &w.q, .bias = w.q_bias, .y = q_},
          {.weights = &w.k, .bias = w.k_bias, .y = k_},
          {.weights = &w.v, .bias = w.v_bias, .y = v_}});
  const Heads queries{.x = q_, .count = spec_.heads, .norm = w.q_norm};
  const Heads keys{.x = k_, .count = spec_.kv_heads, .norm = w.k_norm};
  const auto span_count = static_cast<int32_t>(batch_->sequences.size());
  for_rows(rows_, [&](int thread, int threads) {
    for (const Heads& heads : {queries, keys}) {
      normalize_heads(heads, thread, threads);
      turn(heads, thread, threads);
    }
    ops_.kv_store({.kv = kv,
                   .spans = batch_->sequences.data(),
                   .span_count = span_count,
                   .rows = rows_,
                   .k = k_,
                   .v = v_},
                  thread, threads);
  });
  const kernels::AttentionArgs attention{.kv = kv,
                                         .spans = batch_->sequences.data(),
                                         .span_count = span_count,
                                         .heads = spec_.heads,
                                         .scale = spec_.attention_scale,
                                         .q = q_,
                                         .out = attended_};
  pool_.run([&](int thread, int threads) { ops_.attention(attention, thread, threads); });
}

void Forward::attention_output(const LayerWeights& w) {
  for_rows(rows_, [&](int thread, int threads) {
    quantize(attended_, {{&w.attention_output}}, thread, threads);
  });
  linear(attended_, rows_,
         {{.weights = &w.attention_output,
           .bias = w.attention_output_bias,
           .residual = hidden_,
           .y = hidden_}});
}

void Forward::ffn_block(const LayerWeights& w) {
  for_rows(rows_, [&](int thread, int threads) {
    normalize(hidden_, w.ffn_norm, thread, threads);
    quantize(normed_, {{&w.gate, &w.up}}, thread, threads);
  });
  linear(normed_, rows_, {{.weights = &w.gate, .y = gate_}, {.weights = &w.up, .y = up_}});
  for_rows(rows_, [&](int thread, int threads) {
    ops_.silu_mul({.gate = gate_, .up = up_, .rows = rows_, .columns = spec_.ffn, .out = gate_},
                  thread, threads);
    quantize(gate_, {{&w.down}}, thread, threads);
  });
  linear(gate_, rows_, {{.weights = &w.down, .residual = hidden_, .y = hidden_}});
}

void Forward::output_block(float* logits) {
  for_rows(rows_, [&](int thread, int threads) {
    normalize(hidden_, weights_.output_norm, thread, threads);
    quantize(normed_, {{&weights_.output}}, thread, threads);
  });
  observe(spec_.layers, normed_);
  linear(normed_, rows_, {{.weights = &weights_.output, .y = logits}});
}

// The rows go on that somebody reads: their state moves to the front, the others end here.
void Forward::keep_rows(std::span<const int32_t> kept) {
  const auto move_row = [](float* rows, int64_t columns, int64_t from, int64_t to) {
    if (from != to) std::copy_n(rows + from * columns, columns, rows + to * columns);
  };
  for (size_t i = 0; i < kept.size(); ++i) {
    const auto to = static_cast<int64_t>(i);
    ASSERT(kept[i] >= to && kept[i] < rows_ && (i == 0 || kept[i] > kept[i - 1]),
           "logit row {} of {} rows at place {}", kept[i], rows_, i);
    move_row(hidden_, spec_.hidden, kept[i], to);
    move_row(attended_, spec_.q_columns(), kept[i], to);
  }
  rows_ = static_cast<int64_t>(kept.size());
}

void Forward::observe(int32_t layer, const float* hidden) const {
  if (batch_->observer != nullptr)
    (*batch_->observer)(layer, {hidden, static_cast<size_t>(rows_ * spec_.hidden)});
}

// Each row's rotation, and its embedding as the start of the residual stream.
void Forward::prepare(const StepBatch& batch) {
  batch_ = &batch;
  rows_ = static_cast<int64_t>(batch.token_ids.size());
  ASSERT(rows_ >= 1 && rows_ <= rows_max_, "{} rows, at most {}", rows_, rows_max_);
  int32_t covered = 0;
  for (const SequenceSpan& span : batch.sequences) {
    ASSERT(span.first_row == covered && span.rows >= 1 && span.rows <= rows_ - covered,
           "a span of {} rows at row {}, {} of {} covered", span.rows, span.first_row, covered,
           rows_);
    for (int32_t i = 0; i < span.rows; ++i) positions_[covered++] = span.first_position + i;
  }
  ASSERT(covered == rows_, "spans cover {} of {} rows", covered, rows_);
  for (const int32_t id : batch.token_ids)
    ASSERT(id >= 0 && id < spec_.vocab, "token id {} of {}", id, spec_.vocab);
  const int64_t pairs = spec_.rope.dims / 2;
  for_rows(rows_, [&](int thread, int threads) {
    const core::Range range = core::split(rows_, 1, thread, threads);
    for (int64_t row = range.begin; row < range.end; ++row)
      rope_row(rope_frequencies_, static_cast<float>(spec_.rope.magnitude), positions_[row],
               {cosines_ + row * pairs, sines_ + row * pairs});
    ops_.embed({.type = weights_.embedding.type,
                .table = weights_.embedding.data,
                .columns = spec_.hidden,
                .ids = batch.token_ids.data(),
                .rows = rows_,
                .out = hidden_},
               thread, threads);
  });
}

void Forward::step(const StepBatch& batch, std::span<const kernels::KvLayer> kv, float* logits) {
  prepare(batch);
  observe(-1, hidden_);
  for (size_t layer = 0; layer < weights_.layers.size(); ++layer) {
    const LayerWeights& w = weights_.layers[layer];
    attend(w, kv[layer]);
    if (layer + 1 == weights_.layers.size()) keep_rows(batch.logit_rows);
    if (rows_ == 0) return;
    attention_output(w);
    ffn_block(w);
    observe(static_cast<int32_t>(layer), hidden_);
  }
  output_block(logits);
}

}  // namespace sluice::model
