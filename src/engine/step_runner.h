// What computes a step for the engine: the model, or in tests something that can be checked.
#pragma once

#include <cstdint>
#include <span>

#include "core/assert.h"
#include "kernels/ops.h"
#include "model/model.h"
#include "model/step.h"

namespace sluice::engine {

// What a step must read and compute at least; 0 where nobody knows.
struct StepWork {
  double step_bytes = 0;            // read once a step, whatever the batch
  double context_token_bytes = 0;   // read for every token that a sequence has
  double token_operations = 0;      // of a row
  double logit_row_operations = 0;  // of a row of logits
};

struct RunnerShape {
  int64_t kv_pages = 0;
  int32_t page_tokens = 0;
  int32_t step_tokens_max = 0;
  int32_t logit_columns = 0;  // of a row of logits; ≥ the ids that may be sampled
  bool has_drafts = false;    // draft() may be called
  bool samples = false;       // submit() and collect() may be called, and where there are drafts
                              // submit_draft() and collect_draft() instead of draft()
  bool draws = true;          // so they may at a temperature: its exponentials are not the host's
  bool goes_ahead = false;    // submit() returns while the step goes on
  bool records = false;       // the first step of so many rows takes longer than others
  StepWork work{};
};

class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual RunnerShape shape() const = 0;
  // As model::Model::forward(): logits (batch.logit_rows, logit_columns).
  virtual void run(const model::StepBatch& batch, float* logits) = 0;
  // As model::Model::draft(): logits (batch.sequences, logit_columns).
  virtual void draft(const model::DraftBatch& batch, float* logits) = 0;
  // As model::Model::submit() and collect().
  virtual void submit(const model::StepBatch& batch, const model::SampleBatch& sampled) {
    ASSERT(false, "a step of {} rows, {} sampled, where nobody samples", batch.token_ids.size(),
           sampled.rows.size());
  }
  virtual void collect(std::span<int32_t> ids) {
    ASSERT(false, "{} ids, where nobody samples", ids.size());
  }
  // As model::Model::submit_draft() and collect_draft().
  virtual void submit_draft(const model::DraftBatch& batch, int32_t vocab) {
    ASSERT(false, "{} rows of {} ids, where nobody drafts", batch.next_ids.size(), vocab);
  }
  virtual int64_t collect_draft(int32_t pass, std::span<int32_t> ids) {
    ASSERT(false, "{} ids of pass {}, where nobody drafts", ids.size(), pass);
    return 0;
  }
  virtual model::ResidentCounts resident_counts() const { return {}; }
};

class ModelRunner final : public StepRunner {
 public:
  // allocate_kv() was called; the model outlives the runner.
  explicit ModelRunner(model::Model& model) : model_(model) {}

  RunnerShape shape() const override {
    const model::MemoryPlan& plan = model_.memory_plan();
    return {.kv_pages = model_.kv_pages(),
            .page_tokens = kernels::kPageTokens,
            .step_tokens_max = model_.step_tokens_max(),
            .logit_columns = model_.spec().vocab,
            .has_drafts = model_.has_drafts(),
            .samples = model_.device() != nullptr,
            // Where one row of a step needs the host, all are sampled there.
            .draws = !model_.is_deterministic(),
            .goes_ahead = model_.goes_ahead(),
            .records = model_.device() != nullptr,
            .work = {.step_bytes = static_cast<double>(plan.step_file_bytes),
                     .context_token_bytes = static_cast<double>(plan.kv_token_bytes),
                     .token_operations = plan.token_operations,
                     .logit_row_operations = plan.logit_row_operations}};
  }
  void run(const model::StepBatch& batch, float* logits) override { model_.forward(batch, logits); }
  void draft(const model::DraftBatch& batch, float* logits) override {
    model_.draft(batch, logits);
  }
  void submit(const model::StepBatch& batch, const model::SampleBatch& sampled) override {
    model_.submit(batch, sampled);
  }
  void collect(std::span<int32_t> ids) override { model_.collect(ids); }
  void submit_draft(const model::DraftBatch& batch, int32_t vocab) override {
    model_.submit_draft(batch, vocab);
  }
  int64_t collect_draft(int32_t pass, std::span<int32_t> ids) override {
    return model_.collect_draft(pass, ids);
  }
  model::ResidentCounts resident_counts() const override { return model_.resident_counts(); }

 private:
  model::Model& model_;
};

}  // namespace sluice::engine
