// A pass of the draft layer on a device: as forward_draft.cpp. What a pass starts from stays where
// the step or pass before has left it: hidden_ has the rows of a step, kept_ the last row of each
// sequence of a pass. The layer's experts are on the device wherever the others are. Over several
// cards it is cut as the others are; what joins embedding and state is on all of them.
#include <algorithm>

#include "model/device_forward.h"

namespace sluice::model {

int64_t DeviceForward::place_drafts(Placer placer) {
  placer.place(&draft_.embedded, rows_max_ * spec_.hidden);
  placer.place(&draft_.joined, rows_max_ * 2 * spec_.hidden);
  placer.place(&draft_.ids, kDraftPassesMax * rows_max_);
  return placer.bytes();
}

void DeviceForward::run_draft(const Shape& shape, DraftBatch::Hidden hidden) {
  on_cards([&](DeviceForward& card) { card.join_and_attend(shape, hidden); });
  if (shape.logit_rows == 0) return;  // keys and values were all
  add_over_cards(kAttentionSum, spec_.layers, shape.rows);
  on_cards([&](DeviceForward& card) {
    card.gather_rows(shape);
    card.draft_feed_forward(shape);
  });
  add_over_cards(kFfnSum, spec_.layers, shape.logit_rows);
}

// To hidden_, of a model's own layer with the draft's in its place.
void DeviceForward::join_and_attend(const Shape& shape, DraftBatch::Hidden hidden) {
  const DraftWeights& weights = weights_.drafts.front();
  const bool is_of_step = hidden == DraftBatch::Hidden::kOfStep;
  device_.embed({.type = weights_.embedding.type,
                 .table = weights_.embedding.data,
                 .columns = spec_.hidden,
                 .ids = on_device_.ids,
                 .rows = shape.rows,
                 .out = draft_.embedded});
  going_on_ = hidden_;
  device_.join({.embedded = draft_.embedded,
                .embedding_norm = weights.embedding_norm,
                .states = is_of_step ? hidden_ : kept_,
                .state_rows = on_device_.state_rows,
                .output_norm = is_of_step ? weights_.output_norm : weights.output_norm,
                .state_norm = weights.hidden_norm,
                .epsilon = spec_.norm_epsilon,
                .rows = shape.rows,
                .columns = spec_.hidden,
                .out = draft_.joined});
  device_.linear({.x = draft_.joined, .rows = shape.rows, .products = {{{weights.join, hidden_}}}});
  if (spec_.latent.rank > 0 && shape.logit_rows == 0)
    store_latent_keys(weights.layer, kv_.back(), shape);
  else if (spec_.latent.rank > 0)
    attend_latent(weights.layer, kv_.back(), shape);
  else
    attend(weights.layer, kv_.back(), shape);
}

void DeviceForward::draft_feed_forward(const Shape& shape) {
  const DraftWeights& weights = weights_.drafts.front();
  if (spec_.has_experts(spec_.layers))
    expert_block(weights.layer, spec_.layers, shape, shape.logit_rows);
  else
    ffn_block(weights.layer, shape.logit_rows);
}

DeviceForward::Shape DeviceForward::begin_draft(const DraftBatch& batch) {
  ASSERT(!weights_.drafts.empty(), "a draft of {} rows without a draft layer",
         batch.next_ids.size());
  ASSERT(batch.hidden_rows.size() == batch.next_ids.size(), "{} hidden states for {} rows",
         batch.hidden_rows.size(), batch.next_ids.size());
  ASSERT(submitted_ == collected_, "{} steps are under way", submitted_ - collected_);
  draft_.rows.clear();
  for (const SequenceSpan& span : batch.sequences)
    if (batch.purpose == DraftBatch::Purpose::kGuess)
      draft_.rows.push_back(span.first_row + span.rows - 1);
  const StepBatch step{.token_ids = batch.next_ids,
                       .sequences = batch.sequences,
                       .logit_rows = draft_.rows,
                       .observer = batch.observer};
  const Shape shape = write_numbers(step, Of::kDraftPass);
  int32_t* const states = next_flight().numbers.state_rows;
  std::fill(std::copy(batch.hidden_rows.begin(), batch.hidden_rows.end(), states),
            states + shape.rows, 0);
  return shape;
}

// Clocks of the queue: before the first pass, and behind each. Those of a profile come before.
constexpr int32_t kDraftClock = 4000;

// Tokens that stay here come and go in the recording, and so does the clock: a launch of its own
// takes as long as several kernels in a recording.
void DeviceForward::queue_draft(const DraftBatch& batch, const Shape& shape, const Wanted& wanted) {
  const auto rows_wanted = std::ssize(draft_.rows);
  const Vector norm = weights_.drafts.front().output_norm;
  const bool stays = wanted.output == Output::kBest;
  const auto begin = [this, shape, wanted, stays, hidden = batch.hidden] {
    if (stays && hidden == DraftBatch::Hidden::kOfDraft)
      take_tokens(shape.rows, wanted.ids - rows_max_);  // of the pass before
    run_draft(shape, hidden);
  };
  const auto end = [this, pass = draft_.passes] { device_.stamp(kDraftClock + pass + 1); };
  if (shape.is_recorded) {
    std::unique_ptr<kernels::Recording>& recording =
        draft_.recordings[{shape.rows, shape.logit_rows, batch.hidden, wanted.ids}];
    if (recording == nullptr)
      recording = device_.record(
          [this, begin, end, shape, norm, wanted, stays, ids = next_flight().ids] {
            begin();
            if (shape.logit_rows > 0) output_block(norm, 0, shape.logit_rows, wanted);
            if (!stays) return;
            if (shape.logit_rows > 0) fetch_ids(ids, wanted.ids, shape.logit_rows);
            end();
          },
          other_devices_);
    if (!other_devices_.empty()) device_.meet(other_devices_);
    device_.replay(*recording);
    if (!stays && rows_wanted > 0) bring_back(0, rows_wanted, wanted);
    return;
  }
  begin();
  for (int64_t first = 0; first < rows_wanted; first += kLogitRowsMax) {
    const int64_t rows = std::min(rows_wanted - first, kLogitRowsMax);
    output_block(norm, first, rows, wanted);
    bring_back(first, rows, wanted);
  }
  if (stays) end();
}

void DeviceForward::draft(const DraftBatch& batch, float* logits) {
  const Shape shape = begin_draft(batch);
  send_numbers(shape);
  queue_draft(batch, shape, {.logits = logits});
  if (draft_.rows.empty()) device_.wait();  // the host's numbers may change
  if (batch.observer == nullptr) return;
  std::vector<float> values(batch.sequences.size() * static_cast<size_t>(spec_.hidden));
  download(values.data(), kept_, std::ssize(values));
  observe_normed(*batch.observer, weights_.drafts.front().output_norm, std::move(values));
}

void DeviceForward::submit_draft(const DraftBatch& batch, int32_t vocab) {
  const bool goes_on = batch.hidden == DraftBatch::Hidden::kOfDraft;
  if (!goes_on) draft_.passes = 0;
  const int32_t pass = draft_.passes;
  ASSERT(pass < kDraftPassesMax && goes_on == (pass > 0), "pass {} of drafts", pass);
  draft_.flight = &draft_.flights[static_cast<size_t>(pass)];
  const Shape shape = begin_draft(batch);
  if (goes_on)
    for (size_t row = 0; row < batch.hidden_rows.size(); ++row)
      draft_.flight->numbers.ids[row] = -1 - batch.hidden_rows[row];
  if (pass == 0) device_.stamp(kDraftClock);
  send_numbers(shape);
  queue_draft(batch, shape, {.output = Output::kBest, .ids = drafted_of(pass), .vocab = vocab});
  draft_.flight->logit_rows = std::ssize(draft_.rows);
  draft_.flight = nullptr;
  ++draft_.passes;
}

int64_t DeviceForward::collect_draft(int32_t pass, std::span<int32_t> ids) {
  const Flight& flight = draft_.flights[static_cast<size_t>(pass)];
  ASSERT(std::ssize(ids) == flight.logit_rows, "{} ids of {} rows", ids.size(), flight.logit_rows);
  ASSERT(submitted_ == collected_, "{} steps are under way", submitted_ - collected_);
  if (draft_.passes > 0) device_.wait();  // no step came behind them, which would be done by now
  std::copy_n(flight.ids, ids.size(), ids.data());
  return device_.stamped_ns(kDraftClock + pass, kDraftClock + pass + 1);
}

}  // namespace sluice::model
