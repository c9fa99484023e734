#include "model/forward.h"

#include <algorithm>

#include "core/assert.h"
#include "core/cpu.h"
#include "core/math.h"
#include "model/rope.h"

namespace sluice::model {
namespace {

// Of fewer rows every thread packs all, instead of waiting for the others' shares.
constexpr int64_t kSharedRowsMin = 4;
// From so many rows a thread on each has its own: their activations stay in its cache, and weights
// that are unpacked once for as many rows are unpacked by every thread.
constexpr int64_t kOwnRowsMin = 128;
using kernels::ActivationForm;

constexpr size_t kProductsMax = 4;  // between two meetings
constexpr int kRoundsShift = 16;    // of one run of the pool

// A thread's share of a product is dealt in portions where there are so many threads that one is
// always late; of fewer it costs as much as it brings.
constexpr int kDealingThreadsMin = 5;
constexpr int64_t kPortionBytes = 32 << 10;
constexpr int64_t kPortionsMax = 64;

int portions_of(const Matrix& weights, int threads) {
  if (threads < kDealingThreadsMin) return 1;
  const int64_t share_bytes =
      core::bytes_of(weights.type, weights.outputs * weights.inputs) / threads;
  return static_cast<int>(std::clamp<int64_t>(share_bytes / kPortionBytes, 1, kPortionsMax));
}

}  // namespace

Forward::Forward(const Parts& parts)
    : spec_(parts.spec),
      weights_(parts.weights),
      ops_(parts.ops),
      pool_(parts.pool),
      rows_max_(parts.step_tokens_max),
      role_(parts.role),
      fetch_bytes_(core::second_cache_bytes() * 3 / 4),
      shares_(static_cast<int>(kProductsMax), parts.pool.threads()) {
  lay_out();
  if (role_ == Role::kRoutedExperts) return;
  const Vector factors = weights_.rope_factors;
  const auto pairs = static_cast<size_t>(spec_.rope.dims / 2);
  rope_frequencies_ = rope_frequencies(
      spec_.rope, factors == nullptr ? std::span<const float>() : std::span(factors, pairs));
}

void Forward::lay_out() {
  const int64_t ffn = std::max({spec_.ffn, spec_.experts.shared_ffn, spec_.latent.query_rank});
  const bool drafts = !weights_.drafts.empty();
  const int64_t inputs_max =
      std::max<int64_t>({drafts ? 2 * spec_.hidden : spec_.hidden, spec_.attended_columns(), ffn});
  size_own_rows(inputs_max);
  const auto place_all = [&](Placer placer) {
    const auto place_rows = [&](auto** out, int64_t columns) {
      placer.place(out, rows_max_ * columns);
    };
    const auto place_packed = [&](Inputs* inputs, int64_t rows) {
      for (const ActivationForm form : kPackedForms)
        if (uses(form))
          placer.place(&inputs->packed[static_cast<size_t>(form)],
                       ops_.activation_bytes(form, rows, inputs_max));
    };
    // The threads' own rows lie one behind the other, each in tiles of its own.
    const auto place_shared = [&](ActivationForm form, std::byte** packed, int64_t inputs) {
      placer.place(packed,
                   std::max(ops_.activation_bytes(form, rows_max_, inputs),
                            own_packed_bytes_[static_cast<size_t>(form)] * pool_.threads()));
    };
    if (role_ == Role::kSteps) {
      place_rows(&hidden_, spec_.hidden);
      place_rows(&q_, spec_.q_columns());
      place_rows(&k_, spec_.kv_columns());
      place_rows(&v_, spec_.kv_columns());
      place_rows(&attended_, spec_.attended_columns());
      place_rows(&cosines_, spec_.rope.dims / 2);
      place_rows(&sines_, spec_.rope.dims / 2);
      place_rows(&row_index_, 1);
      if (drafts) {
        place_rows(&step_hidden_, spec_.hidden);
        place_rows(&draft_hidden_, spec_.hidden);
        place_rows(&joined_, int64_t{2} * spec_.hidden);
      }
      place_rows(&gate_, ffn);
      place_rows(&up_, ffn);
      if (uses(ActivationForm::kBf16))
        place_shared(ActivationForm::kBf16,
                     &gated_.packed[static_cast<size_t>(ActivationForm::kBf16)], ffn);
      place_latent(placer);
    }
    place_rows(&shared_.normed, spec_.hidden);
    shared_.activated = gate_;
    const bool orders = !weights_.input_orders.empty();
    if (orders) placer.place(&shared_.ordered, rows_max_ * inputs_max);
    for (const ActivationForm form : kPackedForms)
      if (uses(form)) place_shared(form, &shared_.packed[static_cast<size_t>(form)], inputs_max);
    for (Inputs& own : own_) {
      constexpr int64_t kRows = kSharedRowsMin - 1;
      placer.place(&own.normed, kRows * spec_.hidden);
      placer.place(&own.activated, kRows * ffn);
      if (orders) placer.place(&own.ordered, kRows * inputs_max);
      place_packed(&own, kRows);
    }
    place_experts(placer);
    return placer.bytes();
  };
  own_.resize(static_cast<size_t>(pool_.threads()));
  storage_ = core::Buffer(place_all(Placer(nullptr)));
  place_all(Placer(storage_.data()));
  for (int32_t row = 0; row < rows_max_ && row_index_ != nullptr; ++row) row_index_[row] = row;
  draft_rows_.reserve(static_cast<size_t>(rows_max_));
  experts_.plan = ExpertPlan(spec_.experts.count, rows_max_ * int64_t{spec_.experts.used});
  for (size_t form = 0; form < experts_.packed.size(); ++form) {
    experts_.in_at[form].resize(static_cast<size_t>(spec_.experts.count));
    experts_.gate_at[form].resize(static_cast<size_t>(spec_.experts.count));
  }
}

void Forward::size_own_rows(int64_t inputs_max) {
  inputs_max_ = inputs_max;
  own_rows_.resize(static_cast<size_t>(pool_.threads()));
  if (own_rows_max() == 0) return;
  for (const ActivationForm form : kPackedForms)
    if (uses(form))
      own_packed_bytes_[static_cast<size_t>(form)] = core::round_up(
          ops_.activation_bytes(form, own_rows_max(), inputs_max), core::kCacheLineBytes);
}

// A border between threads goes through one sequence and kv head at most.
void Forward::reserve_positions(int64_t positions_max) {
  const int64_t segments = core::div_ceil(positions_max, kernels::kAttentionSegmentTokens);
  parts_max_ = (pool_.threads() - 1) * segments * kernels::kAttentionPartQueries;
  parts_ = core::Buffer(parts_max_ * kernels::attention_part_floats(spec_.head_dim) *
                        static_cast<int64_t>(sizeof(float)));
}

int64_t Forward::own_rows_max() const {
  const int64_t rows = core::div_ceil(rows_max_, pool_.threads());
  const bool is_plain = spec_.latent.rank == 0 && spec_.experts.count == 0;
  return is_plain && pool_.threads() > 1 && rows >= kOwnRowsMin ? rows : 0;
}

bool Forward::uses(ActivationForm form) const {
  return std::any_of(weights_.sources.begin(), weights_.sources.end(), [&](const auto& source) {
    return ops_.activation_form(source.matrix->type) == form;
  });
}

Forward::Worker Forward::worker(int thread, int threads) const {
  Worker w{.thread = thread, .threads = threads, .rows = rows_};
  w.round = runs_ << kRoundsShift;
  w.output_thread = thread;
  w.output_threads = threads;
  give_shared_rows(w);
  if (batch_->profile != nullptr) {
    w.times = &batch_->profile->threads[static_cast<size_t>(thread)];
    w.lap_begin_ns = batch_->profile->clock.now_ns();
  }
  return w;
}

void Forward::give_shared_rows(Worker& w) const {
  w.gated = &gated_;
  if (rows_ < kSharedRowsMin) {
    w.inputs = &own_[static_cast<size_t>(w.thread)];
  } else {
    w.inputs = &shared_;
    w.row_thread = w.thread;
    w.row_threads = w.threads;
  }
}

// The shares are those of the ops that share rows. An observer wants all rows after each layer.
void Forward::take_own_rows(Worker& w) {
  if (own_rows_max() == 0 || rows_ < kOwnRowsMin * w.threads || batch_->observer != nullptr) return;
  const core::Range rows = core::split(rows_, 1, w.thread, w.threads);
  OwnRows& own = own_rows_[static_cast<size_t>(w.thread)];
  w.owns_rows = true;
  w.first_row = rows.begin;
  w.rows = rows.end - rows.begin;
  w.row_thread = w.output_thread = 0;
  w.row_threads = w.output_threads = 1;
  own.inputs.normed = w.at(shared_.normed, spec_.hidden);
  own.inputs.activated = w.at(gate_, spec_.ffn);
  if (shared_.ordered != nullptr) own.inputs.ordered = w.at(shared_.ordered, inputs_max_);
  for (size_t form = 0; form < kForms; ++form) {
    const int64_t at = w.thread * own_packed_bytes_[form];
    if (shared_.packed[form] != nullptr) own.inputs.packed[form] = shared_.packed[form] + at;
    if (gated_.packed[form] != nullptr) own.gated.packed[form] = gated_.packed[form] + at;
  }
  w.inputs = &own.inputs;
  w.gated = &own.gated;
}

void Forward::share_rows(Worker& w) {
  if (!w.owns_rows) return;
  meet(w);
  w.owns_rows = false;
  w.first_row = 0;
  w.rows = rows_;
  w.output_thread = w.thread;
  w.output_threads = w.threads;
  give_shared_rows(w);
}

void Forward::lap(Worker& w, int64_t StepTimes::*part) const {
  if (w.times == nullptr) return;
  const int64_t now_ns = batch_->profile->clock.now_ns();
  w.times->*part += now_ns - w.lap_begin_ns;
  w.lap_begin_ns = now_ns;
}

void Forward::meet(Worker& w) {
  pool_.meet(w.thread);
  lap(w, &StepTimes::waiting_ns);
}

void Forward::rows_done(Worker& w) {
  lap(w, &StepTimes::rows_ns);
  if (w.row_threads > 1) meet(w);
}

void Forward::pack(Worker& w, const float* x, std::initializer_list<const Matrix*> users) {
  for (const ActivationForm form : kPackedForms) {
    const auto wants = [&](const Matrix* user) {
      return user->input_order == nullptr && ops_.activation_form(user->type) == form;
    };
    if (std::any_of(users.begin(), users.end(), wants))
      pack_as(w, form, x, (*users.begin())->inputs);
  }
}

void Forward::pack_as(Worker& w, ActivationForm form, const float* x, int64_t inputs) {
  ops_.quantize_activations({.form = form,
                             .x = x,
                             .rows = w.rows,
                             .inputs = inputs,
                             .packed = w.inputs->packed[static_cast<size_t>(form)]},
                            w.row_thread, w.row_threads);
}

// The hidden state, normalised and packed for the products that read it.
void Forward::normalize(Worker& w, Vector weight, std::initializer_list<const Matrix*> users) {
  ops_.rms_norm({.x = w.at(hidden_, spec_.hidden),
                 .weight = weight,
                 .epsilon = spec_.norm_epsilon,
                 .rows = w.rows,
                 .columns = spec_.hidden,
                 .out = w.inputs->normed},
                w.row_thread, w.row_threads);
  pack(w, w.inputs->normed, users);
  rows_done(w);
}

void Forward::multiply(Worker& w, const float* x, const Product& product, int owner,
                       kernels::Portion portion) {
  const auto form = static_cast<size_t>(ops_.activation_form(product.weights->type));
  const int64_t y_at = w.first_row * product.weights->outputs;
  ops_.linear({.weights = *product.weights,
               .x = x,
               .x_packed = w.inputs->packed[form],
               .rows = w.rows,
               .bias = product.bias,
               .residual = product.residual == nullptr ? nullptr : product.residual + y_at,
               .y = product.y + y_at,
               .portion = portion},
              owner, w.output_threads);
  lap(w, &StepTimes::linear_ns);
}

// x (rows, inputs) in the matrix's order, and packed as it wants it.
void Forward::order_inputs(Worker& w, const float* x, const Matrix& matrix) {
  const core::Range rows = core::split(w.rows, 1, w.row_thread, w.row_threads);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    copy_in_order(x + row * matrix.inputs, matrix, w.inputs->ordered + row * matrix.inputs);
  const ActivationForm form = ops_.activation_form(matrix.type);
  if (form != ActivationForm::kF32) pack_as(w, form, w.inputs->ordered, matrix.inputs);
  rows_done(w);
}

// A thread's own shares first, then what others have left of theirs. A share of one portion is its
// owner's.
void Forward::deal(Worker& w, const float* x, std::initializer_list<Product> products) {
  DEBUG_ASSERT(products.size() <= kProductsMax, "{} products", products.size());
  ++w.round;
  std::array<int, kProductsMax> portions;
  bool is_dealt = false;
  for (size_t i = 0; i < products.size(); ++i) {
    portions[i] = portions_of(*products.begin()[i].weights, w.output_threads);
    is_dealt |= portions[i] > 1;
  }
  const auto take_from = [&](int owner) {
    for (size_t i = 0; i < products.size(); ++i) {
      const Product& p = products.begin()[i];
      if (p.weights->input_order != nullptr) continue;
      if (portions[i] == 1) {
        if (owner == w.output_thread) multiply(w, x, p, owner, {});
        continue;
      }
      const auto next = [&] {
        return shares_.take(static_cast<int>(i), owner, w.round, portions[i]);
      };
      for (int index = next(); index >= 0; index = next())
        multiply(w, x, p, owner, {index, portions[i]});
    }
  };
  take_from(w.output_thread);
  for (int i = 1; is_dealt && i < w.threads; ++i) take_from((w.thread + i) % w.threads);
}

void Forward::linear(Worker& w, const float* x, std::initializer_list<Product> products) {
  deal(w, x, products);
  const Matrix* last = nullptr;
  const auto reads_the_same = [&](const Matrix& a, const Matrix& b) {
    return a.input_order == b.input_order &&
           ops_.activation_form(a.type) == ops_.activation_form(b.type);
  };
  for (const Product& p : products) {
    if (p.weights->input_order == nullptr) continue;
    if (last == nullptr || !reads_the_same(*last, *p.weights)) {
      if (w.row_threads > 1) meet(w);  // what is packed may still be read
      order_inputs(w, x, *p.weights);
    }
    last = p.weights;
    multiply(w, w.inputs->ordered, p, w.output_thread, {});
  }
  if (!w.owns_rows) meet(w);
}

// Norm and rotation of each of these rows' heads.
void Forward::turn(const Heads& heads, core::Range rows) {
  float* first = heads.x + rows.begin * heads.count * heads.dims;
  const int64_t count = rows.end - rows.begin;
  if (heads.norm != nullptr)
    ops_.rms_norm({.x = first,
                   .weight = heads.norm,
                   .epsilon = spec_.norm_epsilon,
                   .rows = count * heads.count,
                   .columns = heads.dims,
                   .out = first},
                  0, 1);
  ops_.rope({.x = first,
             .rows = count,
             .heads = heads.count,
             .head_dim = heads.dims,
             .rope_dims = spec_.rope.dims,
             .positions = row_index_ + rows.begin,
             .cosines = cosines_,
             .sines = sines_,
             .layout = spec_.rope.layout},
            0, 1);
}

// Into attended_; the layer's keys and values are stored on the way.
void Forward::attend(Worker& w, const LayerWeights& layer, const kernels::KvLayer& kv) {
  normalize(w, layer.attention_norm, {&layer.q, &layer.k, &layer.v});
  linear(w, w.inputs->normed,
         {{.weights = &layer.q, .bias = layer.q_bias, .y = q_},
          {.weights = &layer.k, .bias = layer.k_bias, .y = k_},
          {.weights = &layer.v, .bias = layer.v_bias, .y = v_}});
  const auto span_count = static_cast<int32_t>(batch_->sequences.size());
  // Few rows: the queries are the first thread's, keys and values the last one's.
  const bool few = w.row_threads == 1 && !w.owns_rows;
  const core::Range rows =
      few ? core::Range{0, w.rows} : core::split(rows_, 1, w.thread, w.threads);
  if (!few || w.thread == 0)
    turn({.x = q_, .count = spec_.heads, .dims = spec_.head_dim, .norm = layer.q_norm}, rows);
  if (!few || w.thread == w.threads - 1) {
    turn({.x = k_, .count = spec_.kv_heads, .dims = spec_.head_dim, .norm = layer.k_norm}, rows);
    ops_.kv_store({.kv = kv,
                   .spans = batch_->sequences.data(),
                   .span_count = span_count,
                   .rows = rows_,
                   .k = k_,
                   .v = v_},
                  few ? 0 : w.thread, few ? 1 : w.threads);
  }
  lap(w, &StepTimes::rows_ns);
  meet(w);
  const kernels::AttentionArgs attention{.kv = kv,
                                         .spans = batch_->sequences.data(),
                                         .span_count = span_count,
                                         .heads = spec_.heads,
                                         .scale = spec_.attention_scale,
                                         .q = q_,
                                         .out = attended_,
                                         .parts = reinterpret_cast<float*>(parts_.data()),
                                         .parts_max = parts_max_};
  ops_.attention(attention, w.thread, w.threads);
  lap(w, &StepTimes::attention_ns);
  meet(w);
  if (!has_long_span_) return;
  ops_.attention_join(attention, w.thread, w.threads);
  lap(w, &StepTimes::attention_ns);
  meet(w);
}

void Forward::attention_output(Worker& w, const LayerWeights& layer) {
  const float* attended = w.at(attended_, spec_.attended_columns());
  pack(w, attended, {&layer.attention_output});
  rows_done(w);
  linear(w, attended,
         {{.weights = &layer.attention_output,
           .bias = layer.attention_output_bias,
           .residual = hidden_,
           .y = hidden_}});
}

// silu(gate) · up, packed for down: in one product where the kernels have it, which leaves out two
// of three times that many floats go to memory and back.
const Forward::Inputs& Forward::activate(Worker& w, const LayerWeights& layer) {
  const auto form = [&](const Matrix& weights) { return ops_.activation_form(weights.type); };
  const bool to_bf16 = form(layer.down) == ActivationForm::kBf16;
  const bool is_ordered = layer.gate.input_order != nullptr || layer.up.input_order != nullptr ||
                          (to_bf16 && layer.down.input_order != nullptr);
  const kernels::GatedArgs gated{
      .gate = layer.gate,
      .up = layer.up,
      .x_packed = w.inputs->packed[static_cast<size_t>(form(layer.gate))],
      .rows = w.rows,
      .y = to_bf16 ? nullptr : w.inputs->activated,
      .packed = to_bf16 ? w.gated->packed[static_cast<size_t>(ActivationForm::kBf16)] : nullptr};
  if (!is_ordered && ops_.can_gate(gated)) {
    ops_.gated(gated, w.output_thread, w.output_threads);
    lap(w, &StepTimes::linear_ns);
    if (!w.owns_rows) meet(w);
    if (to_bf16) return *w.gated;
  } else {
    linear(w, w.inputs->normed,
           {{.weights = &layer.gate, .y = gate_}, {.weights = &layer.up, .y = up_}});
    ops_.silu_mul({.gate = w.at(gate_, spec_.ffn),
                   .up = w.at(up_, spec_.ffn),
                   .rows = w.rows,
                   .columns = spec_.ffn,
                   .out = w.inputs->activated},
                  w.row_thread, w.row_threads);
  }
  pack(w, w.inputs->activated, {&layer.down});
  rows_done(w);
  return *w.inputs;
}

void Forward::ffn_block(Worker& w, const LayerWeights& layer) {
  normalize(w, layer.ffn_norm, {&layer.gate, &layer.up});
  const Inputs* inputs = w.inputs;
  w.inputs = &activate(w, layer);
  linear(w, w.inputs->activated, {{.weights = &layer.down, .residual = hidden_, .y = hidden_}});
  w.inputs = inputs;
}

void Forward::output_block(Worker& w, float* logits) {
  normalize(w, weights_.output_norm, {&weights_.output});
  observe(w, spec_.layers, w.inputs->normed);
  linear(w, w.inputs->normed, {{.weights = &weights_.output, .y = logits}});
}

// The rows go on that somebody reads: their state moves to the front, the others end here.
void Forward::keep_rows(Worker& w) {
  const std::span<const int32_t> kept = batch_->logit_rows;
  const auto kept_rows = static_cast<int64_t>(kept.size());
  if (kept_rows == w.rows) return;
  const auto move_row = [](float* rows, int64_t columns, int64_t from, int64_t to) {
    if (from != to) std::copy_n(rows + from * columns, columns, rows + to * columns);
  };
  for (int64_t to = 0; w.thread == 0 && to < kept_rows; ++to) {
    const int64_t from = kept[static_cast<size_t>(to)];
    move_row(hidden_, spec_.hidden, from, to);
    move_row(attended_, spec_.attended_columns(), from, to);
  }
  w.rows = kept_rows;
  lap(w, &StepTimes::rows_ns);
  meet(w);
}

void Forward::observe(Worker& w, int32_t layer, const float* hidden) {
  if (batch_->observer == nullptr) return;
  if (w.thread == 0)
    (*batch_->observer)(layer, {hidden, static_cast<size_t>(w.rows * spec_.hidden)});
  meet(w);
}

void Forward::check(const StepBatch& batch) const {
  check_batch(batch, {.rows_max = rows_max_, .vocab = spec_.vocab});
  ASSERT(batch.profile == nullptr || std::ssize(batch.profile->threads) == pool_.threads(),
         "times of {} threads", batch.profile->threads.size());
}

// Each row's rotation, and its embedding as the start of the residual stream.
void Forward::start_rows(Worker& w) {
  const int64_t pairs = spec_.rope.dims / 2;
  const core::Range rows = core::split(w.rows, 1, w.thread, w.threads);
  for (const SequenceSpan& span : batch_->sequences) {
    const int64_t end = std::min<int64_t>(rows.end, span.first_row + span.rows);
    for (int64_t row = std::max<int64_t>(rows.begin, span.first_row); row < end; ++row)
      rope_row(rope_frequencies_, static_cast<float>(spec_.rope.magnitude),
               span.first_position + static_cast<int32_t>(row - span.first_row),
               {cosines_ + row * pairs, sines_ + row * pairs});
  }
  ops_.embed({.type = weights_.embedding.type,
              .table = weights_.embedding.data,
              .columns = spec_.hidden,
              .ids = batch_->token_ids.data(),
              .rows = w.rows,
              .out = hidden_},
             w.thread, w.threads);
  lap(w, &StepTimes::rows_ns);
  meet(w);
}

void Forward::attend_any(Worker& w, const LayerWeights& layer, const kernels::KvLayer& kv) {
  if (spec_.latent.rank > 0)
    attend_latent(w, layer, kv);
  else
    attend(w, layer, kv);
}

// What follows attention.
void Forward::finish_layer(Worker& w, const LayerWeights& layer, int32_t number) {
  attention_output(w, layer);
  if (spec_.has_experts(number))
    expert_block(w, layer, number);
  else
    ffn_block(w, layer);
}

void Forward::run_share(Worker w, std::span<const kernels::KvLayer> kv, float* logits) {
  const bool keep_all = batch_->hidden == KeepHidden::kYes;
  start_rows(w);
  observe(w, -1, hidden_);
  take_own_rows(w);
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    const LayerWeights& layer = weights_.layers[i];
    attend_any(w, layer, kv[i]);
    if (i + 1 == weights_.layers.size() && !keep_all) {
      share_rows(w);
      keep_rows(w);
    }
    if (w.rows == 0) return;
    finish_layer(w, layer, static_cast<int32_t>(i));
    observe(w, static_cast<int32_t>(i), hidden_);
  }
  if (keep_all) {
    share_rows(w);
    keep_hidden(w);
    keep_rows(w);
    if (w.rows == 0) return;
  }
  output_block(w, logits);
}

void Forward::prepare(const StepBatch& batch) {
  check(batch);
  batch_ = &batch;
  rows_ = static_cast<int64_t>(batch.token_ids.size());
  ++runs_;
  has_long_span_ =
      std::any_of(batch.sequences.begin(), batch.sequences.end(), [](const SequenceSpan& span) {
        return span.first_position + span.rows > kernels::kAttentionSegmentTokens;
      });
}

void Forward::step(const StepBatch& batch, std::span<const kernels::KvLayer> kv, float* logits) {
  prepare(batch);
  pool_.run([&](int thread, int threads) { run_share(worker(thread, threads), kv, logits); });
}

}  // namespace sluice::model
