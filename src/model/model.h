// A loaded model: weights packed for this machine, the paged KV arena, one forward pass.
// One thread at a time may call forward(); a step allocates nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "core/result.h"
#include "core/thread_pool.h"
#include "formats/checkpoint.h"
#include "model/memory_plan.h"
#include "model/spec.h"

namespace sluice::model {

// Consecutive tokens of one sequence. Its KV lies in pages of kv_page_tokens() tokens: token
// `position` in page pages[position / kv_page_tokens()]. Pages must cover first_position + rows.
struct SequenceSpan {
  int32_t first_row = 0;       // in StepBatch::token_ids
  int32_t rows = 0;            // ≥ 1
  int32_t first_position = 0;  // tokens of the sequence whose KV is there already
  const int32_t* pages = nullptr;
};

// Sees the hidden state (rows, hidden) of a step: after the embedding (layer -1), after each layer
// (0 … layers-1) and after the final norm (layer == layers; rows are the step's logit_rows).
using HiddenObserver = std::function<void(int32_t layer, std::span<const float> hidden)>;

struct StepBatch {
  std::span<const int32_t> token_ids;       // all rows of the step, 1 … step_tokens_max
  std::span<const SequenceSpan> sequences;  // cover the rows in order, each sequence once
  std::span<const int32_t> logit_rows;      // ascending rows whose logits are wanted; may be empty
  const HiddenObserver* observer = nullptr;
};

// Fast: the best kernels here, activations quantised. Exact: reference kernels, float32 activations
// and KV; slow, for comparison.
enum class Arithmetic { kFast, kExact };

struct LoadOptions {
  int threads = 1;
  int32_t step_tokens_max = 512;
  Arithmetic arithmetic = Arithmetic::kFast;
  std::string kernels;  // name of a kernel table; empty: the best that this machine can run
  std::function<void(int64_t done_bytes, int64_t total_bytes)> progress;
};

class Model {
 public:
  // Lists every missing, misshapen or unsupported tensor. The checkpoint must outlive the model:
  // embedding rows are read from it.
  static core::Result<std::unique_ptr<Model>> load(const formats::Checkpoint& checkpoint,
                                                   const LoadOptions& options);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const Spec& spec() const;
  const MemoryPlan& memory_plan() const;
  int32_t step_tokens_max() const;
  std::string_view kernels() const;  // name of the kernel table in use
  core::ThreadPool& pool();

  // KV: one arena per layer, page ids [0, kv_pages()) shared by all layers.
  int32_t kv_page_tokens() const;
  int64_t kv_page_bytes() const;  // one page in all layers
  void allocate_kv(int64_t pages);
  int64_t kv_pages() const;

  // One step: appends the rows' keys and values to their pages and writes the logits of
  // `logit_rows`, (logit_rows, vocab). A row's logits are the same bits whatever the other rows and
  // however its prefix was cut into steps.
  void forward(const StepBatch& batch, float* logits);

 private:
  struct State;
  explicit Model(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sluice::model
