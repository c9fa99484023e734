// A model whose next token is a function of the token history as it reads it back from the pages it
// was given: a wrong page, a page reused too early or a token computed twice changes the output.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include "core/rng.h"
#include "engine/engine.h"
#include "engine/sampling.h"
#include "engine/step_runner.h"
#include "kernels/ref/ref_device.h"
#include "kernels/registry.h"

namespace sluice::engine::testing {

inline constexpr int32_t kFakeVocab = 50;
inline constexpr int32_t kFakeColumns = 56;  // of a row of logits: padded beyond the vocabulary
inline constexpr int32_t kFakePageTokens = 8;
inline constexpr int32_t kPoison = 49;  // a history with this token has no finite logits

// The logits after `history`, (kFakeColumns); the padding would win if it were read.
inline void fake_logits(std::span<const int32_t> history, float* logits) {
  uint64_t hash = 0;
  bool poisoned = false;
  for (const int32_t id : history) {
    hash = core::random_bits(hash, static_cast<uint64_t>(id));
    poisoned |= id == kPoison;
  }
  for (int32_t i = 0; i < kFakeColumns; ++i)
    logits[i] = i >= kFakeVocab
                    ? 1000.0f
                    : static_cast<float>(6.0 * core::random_unit(hash, static_cast<uint64_t>(i)));
  logits[kPoison] = poisoned ? std::numeric_limits<float>::quiet_NaN() : -20.0f;
}

// Where a fake model's tokens are sampled: on a device, steps may be submitted ahead of their ids.
enum class FakeSampling { kHost, kDevice };

class FakeRunner final : public StepRunner {
 public:
  // With drafts most of them are right: the model's best token, or now and then another.
  explicit FakeRunner(int64_t pages, int32_t step_tokens_max = 512, bool has_drafts = false,
                      FakeSampling sampling = FakeSampling::kHost)
      : shape_{.kv_pages = pages,
               .page_tokens = kFakePageTokens,
               .step_tokens_max = step_tokens_max,
               .logit_columns = kFakeColumns,
               .has_drafts = has_drafts,
               .samples = sampling == FakeSampling::kDevice,
               .goes_ahead = sampling == FakeSampling::kDevice,
               .work = {.step_bytes = 1000,
                        .context_token_bytes = 10,
                        .token_operations = 300,
                        .logit_row_operations = 50}},
        content_(static_cast<size_t>(pages * kFakePageTokens), -1),
        next_content_(content_) {
    history_.reserve(content_.size());
    hidden_positions_.reserve(content_.size());
  }

  // Called in every run, e.g. to advance a clock.
  std::function<void(const model::StepBatch&)> on_run;

  RunnerShape shape() const override { return shape_; }

  // A device's queue: a step is computed when its ids are asked for, on what it was given.
  void submit(const model::StepBatch& batch, const model::SampleBatch& sampled) override {
    EXPECT_TRUE(sampled.rows.empty() || sampled.rows.size() == batch.logit_rows.size());
    Submitted step{.token_ids = {batch.token_ids.begin(), batch.token_ids.end()},
                   .spans = {batch.sequences.begin(), batch.sequences.end()},
                   .logit_rows = {batch.logit_rows.begin(), batch.logit_rows.end()},
                   .sampled_rows = {batch.sampled_rows.begin(), batch.sampled_rows.end()},
                   .how = {sampled.rows.begin(), sampled.rows.end()},
                   .hidden = batch.hidden};
    for (const model::SequenceSpan& span : batch.sequences) {
      const int32_t pages = (span.first_position + span.rows - 1) / kFakePageTokens + 1;
      step.pages.emplace_back(span.pages, span.pages + pages);
    }
    for (size_t row = 0; row < batch.drafted.size(); ++row)
      if (const model::DraftedToken& from = batch.drafted[row]; from.pass >= 0)
        step.token_ids[row] =
            drafted_.at(static_cast<size_t>(from.pass)).at(static_cast<size_t>(from.sequence));
    submitted_.push_back(std::move(step));
    EXPECT_LE(std::ssize(submitted_), model::kStepsAhead);
    ++steps_submitted;
    if (submitted_.size() > 1) ++steps_ahead;
  }
  void collect(std::span<int32_t> ids) override {
    ASSERT_FALSE(submitted_.empty());
    Submitted step = std::move(submitted_.front());
    submitted_.pop_front();
    ASSERT_EQ(ids.size(), step.logit_rows.size());
    for (size_t i = 0; i < step.spans.size(); ++i) step.spans[i].pages = step.pages[i].data();
    for (size_t row = 0; row < step.sampled_rows.size(); ++row)
      if (const int32_t from = step.sampled_rows[row]; from >= 0)
        step.token_ids[row] = std::max(last_ids_[static_cast<size_t>(from)], 0);
    std::vector<float> logits(ids.size() * kFakeColumns);
    run({.token_ids = step.token_ids,
         .sequences = step.spans,
         .logit_rows = step.logit_rows,
         .hidden = step.hidden},
        logits.data());
    device_->sample({.logits = logits.data(),
                     .rows = std::ssize(ids),
                     .stride = kFakeColumns,
                     .columns = kFakeVocab,
                     .how = step.how.empty() ? nullptr : step.how.data(),
                     .ids = ids.data()});
    last_ids_.assign(ids.begin(), ids.end());
  }
  int64_t steps_under_way() const { return std::ssize(submitted_); }
  int64_t steps_submitted = 0;
  int64_t steps_ahead = 0;  // of these, behind one under way

  void run(const model::StepBatch& batch, float* logits) override {
    for (const model::SequenceSpan& span : batch.sequences)
      for (int32_t r = 0; r < span.rows; ++r)
        content_[slot(span, span.first_position + r)] =
            batch.token_ids[static_cast<size_t>(span.first_row + r)];
    if (batch.hidden == model::KeepHidden::kYes) keep_positions(batch.sequences);
    auto span = batch.sequences.begin();
    for (const int32_t row : batch.logit_rows) {
      while (row >= span->first_row + span->rows) ++span;
      history_.clear();
      for (int32_t p = 0; p <= span->first_position + row - span->first_row; ++p)
        history_.push_back(content_[slot(*span, p)]);
      fake_logits(history_, logits);
      logits += kFakeColumns;
    }
    if (on_run) on_run(batch);
  }

  // A row's guess is a function of the tokens behind all rows so far, as the draft layer's own
  // content has them.
  void draft(const model::DraftBatch& batch, float* logits) override {
    const bool of_step = batch.hidden == model::DraftBatch::Hidden::kOfStep;
    for (const model::SequenceSpan& span : batch.sequences)
      for (int32_t r = 0; r < span.rows; ++r) {
        const auto row = static_cast<size_t>(span.first_row + r);
        const int32_t position = span.first_position + r;
        EXPECT_EQ(hidden_positions_[static_cast<size_t>(batch.hidden_rows[row])],
                  of_step ? position : position - 1);
        next_content_[slot(span, position)] = batch.next_ids[row];
      }
    hidden_positions_.clear();
    if (on_draft) on_draft(batch);
    if (batch.purpose == model::DraftBatch::Purpose::kKeys) return;
    for (const model::SequenceSpan& span : batch.sequences) {
      const int32_t last = span.first_position + span.rows - 1;
      hidden_positions_.push_back(last);
      history_.assign(1, content_[slot(span, 0)]);
      for (int32_t p = 0; p <= last; ++p) history_.push_back(next_content_[slot(span, p)]);
      fake_logits(history_, logits);
      const uint64_t chance = core::random_bits(1, static_cast<uint64_t>(last + history_.back()));
      if (chance % 4 == 0) logits[2 + chance / 4 % 40] = 7.0f;
      logits += kFakeColumns;
    }
  }
  std::function<void(const model::DraftBatch&)> on_draft;
  std::function<int64_t()> pass_ns;  // that a device's clocks find of a pass that guesses

  // The queue's: the best ids stay here.
  void submit_draft(const model::DraftBatch& batch, int32_t vocab) override {
    EXPECT_TRUE(shape_.samples && submitted_.empty());
    model::DraftBatch pass = batch;
    std::vector<int32_t> next_ids;
    if (batch.hidden == model::DraftBatch::Hidden::kOfDraft) {
      for (const int32_t row : batch.hidden_rows)
        next_ids.push_back(drafted_.back().at(static_cast<size_t>(row)));
      pass.next_ids = next_ids;
    } else {
      drafted_.clear();
    }
    std::vector<float> logits(batch.sequences.size() * kFakeColumns);
    draft(pass, logits.data());
    std::vector<int32_t>& ids = drafted_.emplace_back();
    if (batch.purpose == model::DraftBatch::Purpose::kKeys) return;
    ids.resize(batch.sequences.size());
    device_->sample({.logits = logits.data(),
                     .rows = std::ssize(ids),
                     .stride = kFakeColumns,
                     .columns = vocab,
                     .ids = ids.data()});
    for (int32_t& id : ids) id = std::max(id, 0);
  }
  int64_t collect_draft(int32_t pass, std::span<int32_t> ids) override {
    const std::vector<int32_t>& drafted = drafted_.at(static_cast<size_t>(pass));
    EXPECT_EQ(ids.size(), drafted.size());
    std::copy(drafted.begin(), drafted.end(), ids.begin());
    return drafted.empty() || !pass_ns ? 1'000 : pass_ns();
  }

 private:
  static size_t slot(const model::SequenceSpan& span, int32_t position) {
    const int32_t page = span.pages[position / kFakePageTokens];
    return static_cast<size_t>(page * kFakePageTokens + position % kFakePageTokens);
  }
  void keep_positions(std::span<const model::SequenceSpan> spans) {
    hidden_positions_.clear();
    for (const model::SequenceSpan& span : spans)
      for (int32_t r = 0; r < span.rows; ++r) hidden_positions_.push_back(span.first_position + r);
  }

  struct Submitted {
    std::vector<int32_t> token_ids;
    std::vector<model::SequenceSpan> spans;
    std::vector<int32_t> logit_rows;
    std::vector<int32_t> sampled_rows;
    std::vector<kernels::SampleRow> how;
    model::KeepHidden hidden = model::KeepHidden::kNo;
    std::vector<std::vector<int32_t>> pages{};  // by span
  };

  RunnerShape shape_;
  std::deque<Submitted> submitted_;
  std::vector<int32_t> last_ids_;              // of the last step computed
  std::vector<std::vector<int32_t>> drafted_;  // by pass since the last step
  std::unique_ptr<kernels::Device> device_ = kernels::make_reference_device();
  std::vector<int32_t> content_;           // (pages, page_tokens): the token id at each place
  std::vector<int32_t> next_content_;      // the same of the draft layer: the id behind it
  std::vector<int32_t> hidden_positions_;  // by row of the last step, or pass
  std::vector<int32_t> history_;
};

// What a request must bring, computed without an engine.
inline std::vector<int32_t> expected_output(const Request& request, const EngineConfig& config) {
  std::vector<int32_t> ids = request.prompt_ids;
  const SamplingParams& p = request.sampling;
  TokenHistory history;
  for (const int32_t id : ids) history.add_prompt(id);
  Sampler sampler(kernels::reference_ops(), config.vocab_tokens);
  std::vector<int32_t> ends = config.end_token_ids;
  ends.insert(ends.end(), p.stop_token_ids.begin(), p.stop_token_ids.end());
  std::vector<float> logits(kFakeColumns);
  std::vector<int32_t> output;
  while (static_cast<int64_t>(output.size()) < p.max_tokens &&
         static_cast<int64_t>(ids.size()) < config.limits.context_tokens_max) {
    fake_logits(ids, logits.data());
    std::span<const int32_t> masked;
    if (p.end_tokens == SamplingParams::EndTokens::kNever) masked = config.end_token_ids;
    if (static_cast<int64_t>(output.size()) < p.min_tokens) masked = ends;
    const auto sampled = sample({.logits = std::span(logits).first(kFakeVocab),
                                 .params = &p,
                                 .history = &history,
                                 .masked_ids = masked,
                                 .position = ids.size()},
                                &sampler);
    if (sampled.outcome != SampleOutcome::kToken) break;
    const int32_t id = sampled.token.token_id;
    ids.push_back(id);
    output.push_back(id);
    history.add_output(id);
    if (std::find(ends.begin(), ends.end(), id) != ends.end()) break;
  }
  return output;
}

}  // namespace sluice::engine::testing
