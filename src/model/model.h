// A loaded model: weights packed for this machine, the paged KV arena, one forward pass.
// One thread at a time may call forward(); a step allocates nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/thread_pool.h"
#include "formats/checkpoint.h"
#include "kernels/ops.h"
#include "model/expert_cache.h"
#include "model/memory_plan.h"
#include "model/placement.h"
#include "model/spec.h"
#include "model/step.h"
#include "model/weights.h"

namespace sluice::model {

// Fast: the best kernels here, activations quantised. Exact: reference kernels, float32 activations
// and KV; slow, for comparison.
enum class Arithmetic { kFast, kExact };

struct LoadOptions {
  int threads = 1;
  int32_t step_tokens_max = 512;
  Arithmetic arithmetic = Arithmetic::kFast;
  std::optional<kernels::KvFormat> kv_format{};  // none: what the kernels read best
  DraftLayers drafts = DraftLayers::kLeave;
  std::string kernels{};  // name of a kernel table; empty: the best that this machine can run
  std::shared_ptr<kernels::Device> device{};  // holds weights and KV and runs the steps; or null
  // Of several cards those behind the first, opened with it: the weights are split over all.
  std::vector<std::shared_ptr<kernels::Device>> other_cards{};
  // With a device; none: as many experts on it as fit. `placed` sees one line before weights load.
  std::optional<Placement> placement = Placement();
  std::function<void(const std::string& line)> placed{};
  int64_t kv_bytes = 0;    // of the device, which hot experts leave for allocate_kv()
  int64_t host_bytes = 0;  // memory of the host, where a device's experts may lie; 0: no limit
  HybridOptions hybrid{};
  // On a device too, a row's logits are the same bits whatever the other rows of its steps and
  // however its prefix was cut; slower. Not with resident or deferred experts.
  bool is_deterministic = false;
  MachineSpeeds speeds{};  // with a device: for what is predicted, and what prompts do by them
  std::function<void(int64_t done_bytes, int64_t total_bytes)> progress{};
};

// formats::Checkpoint::open() for a model that is to be loaded: where it cannot be opened, the
// Error lists what is wrong with its tensors too, as far as they can be read.
core::Result<std::unique_ptr<formats::Checkpoint>> open_checkpoint(const std::string& model);

class Model {
 public:
  // An Error lists what is missing, misshapen or unsupported (formats/problems.h: all is counted,
  // the first 50 listed). The checkpoint must outlive the model: embedding rows are read from it.
  static core::Result<std::unique_ptr<Model>> load(const formats::Checkpoint& checkpoint,
                                                   const LoadOptions& options);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const Spec& spec() const;
  const MemoryPlan& memory_plan() const;
  const Weights& weights() const;
  int32_t step_tokens_max() const;
  const kernels::Ops& ops() const;  // the kernel table in use
  core::ThreadPool& pool();
  bool is_deterministic() const;    // LoadOptions
  kernels::Device* device() const;  // null: the processor runs the steps; of several the first
  int32_t cards() const;            // that it is split over; 1 without a device

  // KV: one arena per layer, page ids [0, kv_pages()) shared by all layers. A page holds
  // kernels::kPageTokens tokens.
  kernels::KvFormat kv_format() const;
  int64_t kv_page_bytes() const;                  // one page in all layers
  core::Result<void> allocate_kv(int64_t pages);  // an Error: a device has not so much memory
  int64_t kv_pages() const;

  // Of the choices of decode steps in layers whose experts are on the host.
  ResidentCounts resident_counts() const;

  // One step: appends the rows' keys and values to their pages and writes the logits of
  // `logit_rows`, (logit_rows, vocab). On the processor, and where is_deterministic(), a row's
  // logits are the same bits whatever the other rows and however its prefix was cut into steps.
  void forward(const StepBatch& batch, float* logits);

  // A pass of the draft layer after a step: writes the logits of each sequence's last row,
  // (sequences, vocab), or none for keys alone. Only where has_drafts().
  bool has_drafts() const;
  void draft(const DraftBatch& batch, float* logits);
  // On a device: as draft(), but the best of `vocab` ids of each sequence stay there, for a pass or
  // a step submitted behind; at most kDraftPassesMax between two steps. Returns before it is done.
  void submit_draft(const DraftBatch& batch, int32_t vocab);
  // Of a pass since the last step, by sequence; waits. What it took, ns.
  int64_t collect_draft(int32_t pass, std::span<int32_t> ids);

  // On a device: as forward(), but only the tokens chosen come back, by collect(). Returns before
  // the step is done, where the processor has no part in it; at most kStepsAhead may be under way.
  void submit(const StepBatch& batch, const SampleBatch& sampled);
  bool goes_ahead() const;  // whether it has no part in any
  // Of the earliest step submitted, by logit row: token ids, or kRowNotFinite, kRowAllMasked.
  void collect(std::span<int32_t> ids);

 private:
  struct State;
  explicit Model(std::unique_ptr<State> state);
  static core::Result<void> load_weights(State* state, const formats::Checkpoint& checkpoint,
                                         const LoadOptions& options);
  static core::Result<void> make_forward(State* state, const LoadOptions& options);
  void check_pages(std::span<const SequenceSpan> sequences) const;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::model
