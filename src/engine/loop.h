// The engine's step, without its thread: messages in, events out. Owns the sequences and pages.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/mailbox.h"
#include "engine/sampling.h"
#include "engine/sequence.h"
#include "engine/step_runner.h"
#include "kv/page_cache.h"
#include "schedule/cost_model.h"
#include "schedule/plan_step.h"

namespace sluice::engine {

class Loop {
 public:
  Loop(const EngineConfig& config, const EngineParts& parts);

  // One step: receive, schedule, launch, process, emit. Allocates only where a request starts.
  void step(Messages* messages);

  // Ends everything, also what is in the messages, with kCancelled.
  void cancel_all(Messages* messages);

  // Now or later.
  bool has_draft_layer() const {
    const bool allowed =
        config_.speculation == Speculation::kAuto || config_.speculation == Speculation::kMtp;
    return allowed && shape_.has_drafts;
  }
  bool uses_draft_layer() const {
    return has_draft_layer() && (config_.speculation == Speculation::kMtp || draft_layer_.is_on());
  }
  bool has_work() const { return !running_.empty() || !waiting_.empty(); }
  std::span<const FinishEvent> finished() const { return finish_events_; }  // by the last call
  const EngineStats& stats() const { return stats_; }
  const kv::PageCache& cache() const { return cache_; }

 private:
  using Owned = std::unique_ptr<Sequence>;
  static constexpr int64_t kNever = INT64_MAX;

  // A sequence's share of the step under way.
  struct Part {
    Sequence* sequence = nullptr;
    int64_t tokens = 0;
    int64_t drafts = 0;  // computed behind them
    int32_t first_row = 0;
    int64_t first_job = 0;  // its rows of logits
    int64_t jobs = 0;
  };
  // A row of logits: of a prompt token to report, of the token to sample, or of one behind a draft.
  struct Job {
    Sequence* sequence = nullptr;
    int64_t position = 0;  // of the token that the row predicts
    Sample result;
    std::span<TokenLogprob> top;
  };
  // A step that the runner was given.
  struct Launch {
    std::vector<Part> parts;
    std::vector<Job> jobs;
    std::vector<StepPart> records;
    int64_t rows = 0;
    int64_t begin_ns = 0;
    bool is_submitted = false;  // its ids are collected; otherwise its logits are here
  };

  void receive(Messages* messages);
  void draft();
  void draft_by_model();
  void end_overdue();
  void schedule();
  void launch();
  void go_ahead();
  void process();
  void emit();

  void clear_events();
  void rest();  // nothing is left to do
  void describe();
  double step_time_ns() const;
  void look_up(const Sequence& s, schedule::SequenceState* state) const;
  schedule::SequenceState state_of(const Sequence& s) const;
  void preempt(int64_t index);
  void start_admitted();
  void take_pages(Part* part);
  void reserve(Launch* launch) const;
  void begin_batch(Launch* launch);
  void add_rows(Part* part);
  bool runner_can_sample(const Sequence& s, int64_t position) const;
  bool may_submit() const;
  void submit(Launch* launch);
  void collect();
  bool may_go_ahead() const;
  bool take_next_page(Sequence* s);
  void add_next_row(const Part& part);
  void follow_ahead();
  void drop_ahead();
  void forget_ahead(const Sequence* s);
  void count_work();
  void sample_rows();
  void measure_speed(int64_t rows);
  DraftOffer make_draft(Sequence* s);
  void see_kept_rows();
  bool wants_guesses();
  void extend_drafts(int32_t tokens);
  void run_draft_pass(const model::DraftBatch& batch);
  void take_draft_token(Sequence* s, size_t row);
  void collect_drafts();
  void measure_drafts();
  void check_draft(Sequence* s, std::span<const int32_t> tokens, int64_t verified);
  void drop_pages(Sequence* s);
  void run_job(size_t index, Sampler* sampler);
  void sample_job(size_t index, Sampler* sampler);
  std::span<const float> logits_of(size_t job) const;
  std::span<Job> jobs_of(const Part& part);
  void advance(const Part& part);
  void take_prompt_jobs(Sequence* s, std::span<const Job> jobs);
  void take_samples(const Part& part, std::span<const Job> samples);
  void emit_token(Sequence* s, const Job& job, int64_t gap_ns);
  void publish_pages(Sequence* s);
  void finish(Sequence* s, FinishReason reason);
  void count_target(const Sequence& s, int64_t now_ns);
  void count_finished(const Sequence& s, const FinishEvent& event, int64_t now_ns);
  void update_gauges();

  const EngineConfig& config_;
  const EngineParts& parts_;
  const RunnerShape shape_;

  // Owned by the loop thread.
  kv::PageCache cache_;
  std::vector<Owned> running_;             // by rank
  std::vector<Owned> waiting_;             // by rank
  int64_t earliest_deadline_ns_ = kNever;  // of the waiting ones, or earlier
  schedule::CostFit cost_;
  EngineStats stats_;
  StepRecord record_;
  std::optional<int64_t> last_finish_ns_;
  Acceptance acceptance_;  // of all sequences: where new ones start
  StepTimes step_times_;   // of steps that only decode
  StepTimes pass_times_;   // of the draft layer's passes that guess
  StepTimes keys_times_;   // of those for keys alone
  DraftLayerUse draft_layer_;
  int64_t keys_passes_ = 0;         // since the last pass that guessed
  int64_t keys_passes_wanted_ = 1;  // before one guesses that nobody wants
  double pass_ns_ = 0;              // of its passes in this step
  DraftCounts drafts_before_;       // the draft layer's, before this step

  // Memory of a step, allocated once.
  std::vector<schedule::SequenceState> running_states_;
  std::vector<schedule::SequenceState> waiting_states_;
  schedule::StepPlan plan_;
  std::vector<DraftOffer> draft_offers_;
  std::vector<Sequence*> drafted_;    // of a pass of the draft layer, in its order
  std::vector<int32_t> hidden_rows_;  // of such a pass
  // Passes that the runner was given and whose tokens have not been read.
  struct DraftPass {
    int64_t rows = 0;
    int64_t sequences = 0;  // with a guess each; 0: for keys alone
  };
  std::vector<DraftPass> draft_passes_;
  int64_t drafts_begin_ns_ = 0;
  std::vector<int32_t> drafted_ids_;           // (kDraftPassesMax, sequences_max)
  std::vector<model::DraftedToken> draft_of_;  // by row of the step; empty: all ids are known
  Launch current_;                             // the step under way
  Launch ahead_;  // the one submitted behind it, or none: of its parts that ended, no sequence
  std::vector<int32_t> token_ids_;
  std::vector<int32_t> page_tables_;
  std::vector<model::SequenceSpan> spans_;
  std::vector<int32_t> logit_rows_;
  std::vector<int32_t> sampled_rows_;            // by row, of a step ahead
  std::vector<kernels::SampleRow> sample_rows_;  // by row of logits
  std::vector<int32_t> sampled_ids_;             // the same
  int64_t collected_ns_ = 0;                     // when the last ids came
  std::vector<float> logits_;                    // (logit_rows_max, logit_columns)
  std::vector<TokenLogprob> tops_;               // (logit_rows_max, logprobs_top_max)
  std::vector<Sampler> samplers_;                // by thread
  std::vector<PromptTokenEvent> prompt_events_;
  std::vector<TokenEvent> token_events_;
  std::vector<FinishEvent> finish_events_;
};

}  // namespace sluice::engine
