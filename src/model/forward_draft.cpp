// A pass of the draft layer: the embedding of the next token and the hidden state of the row,
// joined, through one layer of the model's kind.
#include <algorithm>

#include "model/forward.h"

namespace sluice::model {

// The states that the output matrix sees are what a draft starts from.
void Forward::keep_hidden(Worker& w) {
  const core::Range rows = core::split(w.rows, 1, w.thread, w.threads);
  ops_.rms_norm({.x = hidden_ + rows.begin * spec_.hidden,
                 .weight = weights_.output_norm,
                 .epsilon = spec_.norm_epsilon,
                 .rows = rows.end - rows.begin,
                 .columns = spec_.hidden,
                 .out = step_hidden_ + rows.begin * spec_.hidden},
                0, 1);
  lap(w, &StepTimes::rows_ns);
  meet(w);
}

// Into hidden_, which has the embeddings.
void Forward::join_rows(Worker& w, const DraftBatch& batch) {
  const DraftWeights& weights = weights_.drafts.front();
  const float* states = batch.hidden == DraftBatch::Hidden::kOfStep ? step_hidden_ : draft_hidden_;
  const int64_t hidden = spec_.hidden;
  const auto normalize_row = [&](const float* x, Vector weight, float* out) {
    ops_.rms_norm({.x = x,
                   .weight = weight,
                   .epsilon = spec_.norm_epsilon,
                   .rows = 1,
                   .columns = hidden,
                   .out = out},
                  0, 1);
  };
  const core::Range rows = core::split(w.rows, 1, w.thread, w.threads);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    float* joined = joined_ + row * 2 * hidden;
    normalize_row(hidden_ + row * hidden, weights.embedding_norm, joined);
    const int64_t from = batch.hidden_rows[static_cast<size_t>(row)];
    normalize_row(states + from * hidden, weights.hidden_norm, joined + hidden);
  }
  lap(w, &StepTimes::rows_ns);
  meet(w);
  pack(w, joined_, {&weights.join});
  rows_done(w);
  linear(w, joined_, {{.weights = &weights.join, .y = hidden_}});
}

// Into the draft layer's pages, and no more.
void Forward::store_keys(Worker& w, const LayerWeights& layer, const kernels::KvLayer& kv) {
  if (spec_.latent.rank > 0)
    store_latent_keys(w, layer, kv);
  else
    attend(w, layer, kv);
}

void Forward::run_draft(Worker w, const DraftBatch& batch, const kernels::KvLayer& kv,
                        float* logits) {
  const DraftWeights& weights = weights_.drafts.front();
  start_rows(w);
  join_rows(w, batch);
  if (batch.purpose == DraftBatch::Purpose::kKeys) return store_keys(w, weights.layer, kv);
  attend_any(w, weights.layer, kv);
  keep_rows(w);
  finish_layer(w, weights.layer, spec_.layers);
  normalize(w, weights.output_norm, {&weights_.output});
  const core::Range rows = core::split(w.rows, 1, w.thread, w.threads);
  std::copy(w.inputs->normed + rows.begin * spec_.hidden,
            w.inputs->normed + rows.end * spec_.hidden, draft_hidden_ + rows.begin * spec_.hidden);
  linear(w, w.inputs->normed, {{.weights = &weights_.output, .y = logits}});
  observe(w, spec_.layers, draft_hidden_);
}

void Forward::draft(const DraftBatch& batch, const kernels::KvLayer& kv, float* logits) {
  ASSERT(!weights_.drafts.empty(), "a draft of {} rows without a draft layer",
         batch.next_ids.size());
  ASSERT(batch.hidden_rows.size() == batch.next_ids.size(), "{} hidden states for {} rows",
         batch.hidden_rows.size(), batch.next_ids.size());
  draft_rows_.clear();
  for (const SequenceSpan& span : batch.sequences)
    draft_rows_.push_back(span.first_row + span.rows - 1);
  draft_step_ = {.token_ids = batch.next_ids,
                 .sequences = batch.sequences,
                 .logit_rows = draft_rows_,
                 .observer = batch.observer};
  prepare(draft_step_);
  pool_.run(
      [&](int thread, int threads) { run_draft(worker(thread, threads), batch, kv, logits); });
}

}  // namespace sluice::model
