// The forward pass of a decoder: blocks over a step's rows, in buffers that last from load to end.
//
// A step is one run of the pool: every thread walks through the layers with its shares of the ops,
// and all meet where an op needs what others wrote. With few rows each thread packs all
// activations for itself, which takes less time than meeting: six meetings a layer instead of ten.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "core/buffer.h"
#include "core/thread_pool.h"
#include "core/work_shares.h"
#include "kernels/ops.h"
#include "model/expert_plan.h"
#include "model/forward_worker.h"
#include "model/placer.h"
#include "model/routed_experts.h"
#include "model/spec.h"
#include "model/step.h"
#include "model/weights.h"

namespace sluice::model {

class Forward {
 public:
  // What it is for: whole steps, or routed experts of steps that a device runs.
  enum class Role : uint8_t { kSteps, kRoutedExperts };
  struct Parts {
    const Spec& spec;
    const Weights& weights;
    const kernels::Ops& ops;
    core::ThreadPool& pool;
    int32_t step_tokens_max;
    Role role = Role::kSteps;
  };
  explicit Forward(const Parts& parts);

  int64_t activation_bytes() const { return storage_.bytes() + parts_.bytes(); }

  // Makes room for what threads leave each other of a sequence that they share.
  void reserve_positions(int64_t positions_max);

  // `kv` has one entry a layer. logits: (logit_rows, vocab).
  void step(const StepBatch& batch, std::span<const kernels::KvLayer> kv, float* logits);

  // `kv` is the draft layer's. logits: (sequences, vocab).
  void draft(const DraftBatch& batch, const kernels::KvLayer& kv, float* logits);

  // One layer's routed experts.
  void run_routed(const LayerWeights& layer, const RoutedRows& routed);

  // The host's side of a step whose queue posts the rows of one layer after the other: every turn
  // is answered as soon as it is posted. The threads stay at it from the first layer to the last.
  void answer_routed(const RoutedTurns& turns);

 private:
  using Inputs = ForwardInputs;
  using Worker = ForwardWorker;
  // One product of a step: y = x · weights^T [+ bias] [+ residual].
  struct Product {
    const Matrix* weights = nullptr;
    Vector bias = nullptr;
    const float* residual = nullptr;
    float* y = nullptr;
  };
  // The step's queries or keys.
  struct Heads {
    float* x = nullptr;  // (rows, count, dims)
    int32_t count = 0;
    int32_t dims = 0;
    Vector norm = nullptr;  // (dims) or null
  };
  // What latent attention has of the step's rows.
  struct LatentRows {
    float* q_low = nullptr;       // (rows, query rank)
    float* kv_low = nullptr;      // (rows, latent rank + rope dims)
    float* latents = nullptr;     // (rows, latent rank)
    float* k_turned = nullptr;    // (rows, rope dims)
    float* q_turned = nullptr;    // (rows, heads, rope dims)
    float* q_nope = nullptr;      // (heads, rows, nope dims)
    float* q_latent = nullptr;    // (heads, rows, latent rank)
    float* attended = nullptr;    // (heads, rows, latent rank)
    float* values = nullptr;      // (heads, rows, value dims)
    std::byte* packed = nullptr;  // (threads, packed_bytes): the head that a thread is at
    int64_t packed_bytes = 0;
  };
  // What the experts have of the step's rows; a choice is a row and one of its experts.
  struct ExpertRows {
    ExpertPlan plan;
    // Gate and up of the groups, 2 · group and 2 · group + 1, in the order of their products: of
    // the first `fetched` each thread has its share of the outputs in its cache.
    std::vector<int32_t> in_order;
    int64_t fetched = 0;
    float* logits = nullptr;                  // (rows, experts)
    int32_t* ids = nullptr;                   // (rows, used)
    float* weights = nullptr;                 // (rows, used)
    float* in = nullptr;                      // (choices by place, hidden)
    float* gate = nullptr;                    // (choices by place, expert ffn)
    float* up = nullptr;                      // (choices by place, expert ffn)
    float* out = nullptr;                     // (choices by place, hidden)
    int32_t* later_ids = nullptr;             // (rows, used): of the next answer; -1: others
    float* carried = nullptr;                 // (rows, hidden): for the next answer
    std::array<std::byte*, kForms> packed{};  // by form
    std::array<int64_t, kForms> packed_bytes{};
    std::array<std::vector<int64_t>, kForms> in_at;    // by form and group: bytes into packed
    std::array<std::vector<int64_t>, kForms> gate_at;  // the same, of activations
    // Pieces of products that a thread has taken.
    alignas(core::kCacheLineBytes) std::atomic<int64_t> next_in{0};
    alignas(core::kCacheLineBytes) std::atomic<int64_t> next_down{0};
    alignas(core::kCacheLineBytes) std::atomic<int64_t> threads_done{0};  // with a turn
  };
  // The rows of one expert, as inputs of its matrices.
  struct GroupInput {
    const float* x = nullptr;                 // (count, inputs)
    std::array<std::byte*, kForms> packed{};  // by form
  };

  // Whether the shared experts' rows go the way of the routed ones.
  enum class SharedExperts : uint8_t { kNone, kBeside };

  void lay_out();
  void size_own_rows(int64_t inputs_max);
  void place_latent(Placer& placer);
  void place_experts(Placer& placer);
  bool uses(kernels::ActivationForm form) const;
  // Rows that a thread may have for itself, at most; 0: they are always shared.
  int64_t own_rows_max() const;
  void check(const StepBatch& batch) const;
  Worker worker(int thread, int threads) const;
  // Of many rows each thread goes through the layers with its own, which stay in its cache, and
  // meets the others around attention only; until share_rows().
  void take_own_rows(Worker& w);
  void share_rows(Worker& w);
  void give_shared_rows(Worker& w) const;
  void run_share(Worker w, std::span<const kernels::KvLayer> kv, float* logits);
  void prepare(const StepBatch& batch);
  void run_draft(Worker w, const DraftBatch& batch, const kernels::KvLayer& kv, float* logits);
  void join_rows(Worker& w, const DraftBatch& batch);
  void store_keys(Worker& w, const LayerWeights& layer, const kernels::KvLayer& kv);
  void keep_hidden(Worker& w);

  // Each is called by all threads. What is read is complete; what is written is after meet().
  void start_rows(Worker& w);
  void attend(Worker& w, const LayerWeights& layer, const kernels::KvLayer& kv);
  void attend_latent(Worker& w, const LayerWeights& layer, const kernels::KvLayer& kv);
  void attend_any(Worker& w, const LayerWeights& layer, const kernels::KvLayer& kv);
  void finish_layer(Worker& w, const LayerWeights& layer, int32_t number);
  void latent_products(Worker& w, const LayerWeights& layer);
  void part_latent_key(const LayerWeights& layer, int64_t row);
  void part_latent_query(int64_t row, int64_t rows);
  void store_latents(Worker& w, const kernels::KvLayer& kv);
  void store_latent_keys(Worker& w, const LayerWeights& layer, const kernels::KvLayer& kv);
  void linear_heads(Worker& w, const float* x, const std::vector<Matrix>& matrices, float* y);
  void keep_rows(Worker& w);
  void attention_output(Worker& w, const LayerWeights& layer);
  const Inputs& activate(Worker& w, const LayerWeights& layer);
  void ffn_block(Worker& w, const LayerWeights& layer);
  void expert_block(Worker& w, const LayerWeights& layer, int32_t number);
  void begin_routed(const RoutedRows& routed, StepProfile* profile);
  void receive_rows(const Worker& w, const RoutedRows& routed);
  // out += Σ weights · the results of the choices that the first thread has planned.
  void add_choices(Worker& w, const LayerWeights& layer, const float* weights, float* out);
  void count_pulls(const RoutedTurns& turns, size_t turn) const;
  void part_choices(const RoutedTurns& turns, size_t turn);
  int64_t fetched_matrices(const LayerWeights& layer, const GuessedExperts& guess) const;
  void fetch_guessed(const Worker& w, const RoutedTurns& turns, size_t turn) const;
  void wait_for_post(const Worker& w, const RoutedTurns& turns, size_t turn) const;
  void put_first(const RoutedTurns& turns, size_t turn);
  void answer_share(Worker w, const RoutedTurns& turns);
  void defer_choices(Worker& w, const LayerWeights& layer);
  void add_routed(Worker& w, const float* weights, float* out);
  void routed_products(Worker& w, const LayerWeights& layer, SharedExperts shared);
  void route_rows(Worker& w, const LayerWeights& layer, int32_t number);
  void gather_groups(Worker& w, const LayerWeights& layer);
  void activate_groups(Worker& w, const LayerWeights& layer, SharedExperts shared);
  void plan_groups(std::span<const int32_t> ids);
  void place_groups();
  void pack_own_row(const Worker& w, const LayerWeights& layer);
  // Piece `piece` of `pieces` of the outputs.
  struct Piece {
    int64_t piece = 0;
    int64_t pieces = 1;
  };
  int64_t pieces_of(const Matrix& matrix, int64_t piece_bytes) const;
  // Calls work(matrix, piece) for every piece of so many matrices like this one, each from the
  // thread that comes to it first: who is held up does less. `next` is 0 at first.
  template <typename Work>
  void take_pieces(std::atomic<int64_t>& next, int64_t matrices, const Matrix& like,
                   const Work& work) const;
  // What gate and up, and down, of a group read.
  GroupInput in_of(const Worker& w, const LayerWeights& layer, size_t group) const;
  GroupInput activated_of(const LayerWeights& layer, size_t group) const;
  void gather_group(const Worker& w, const LayerWeights& layer, size_t group, int thread,
                    int threads);
  void order_activated(const LayerWeights& layer, size_t group, int thread, int threads);
  template <typename Work>
  void for_groups(const Worker& w, const Work& work);
  void pack_group(const GroupInput& input, size_t group,
                  std::initializer_list<const Matrix*> matrices, int thread, int threads);
  void linear_group(const GroupInput& input, size_t group, const Matrix& matrix, const Piece& piece,
                    float* y);
  void output_block(Worker& w, float* logits);
  void observe(Worker& w, int32_t layer, const float* hidden);

  void normalize(Worker& w, Vector weight, std::initializer_list<const Matrix*> users);
  void turn(const Heads& heads, core::Range rows);
  // Packs x (rows, inputs) once for the products that follow, in the forms that they want; those of
  // matrices with an input order pack for themselves.
  void pack(Worker& w, const float* x, std::initializer_list<const Matrix*> users);
  void pack_as(Worker& w, kernels::ActivationForm form, const float* x, int64_t inputs);
  // Every weight product of the model. The products, four at most, share their input x.
  void linear(Worker& w, const float* x, std::initializer_list<Product> products);
  // Those of them without an input order, each thread's shares in portions.
  void deal(Worker& w, const float* x, std::initializer_list<Product> products);
  void multiply(Worker& w, const float* x, const Product& product, int owner,
                kernels::Portion portion);
  void order_inputs(Worker& w, const float* x, const Matrix& matrix);
  // The row-wise work before is done by all threads that the next op needs it from.
  void rows_done(Worker& w);
  void meet(Worker& w);
  // Books the time since the last lap.
  void lap(Worker& w, int64_t StepTimes::*part) const;

  const Spec& spec_;
  const Weights& weights_;
  const kernels::Ops& ops_;
  core::ThreadPool& pool_;
  const int32_t rows_max_;
  int64_t inputs_max_ = 0;  // of a product
  const Role role_;
  const int64_t fetch_bytes_;  // what a thread's cache holds until it is used
  std::vector<float> rope_frequencies_;
  core::WorkShares shares_;

  const StepBatch* batch_ = nullptr;  // of the step that runs
  StepBatch routed_step_;             // of routed rows: what is measured of them
  StepBatch draft_step_;              // what the layers see of a draft
  std::vector<int32_t> draft_rows_;   // its logit rows
  int64_t rows_ = 0;
  uint64_t runs_ = 0;
  bool has_long_span_ = false;  // one of more than a segment, which threads may share

  core::Buffer parts_;  // of attention
  int64_t parts_max_ = 0;
  core::Buffer storage_;           // what follows points into it
  Inputs shared_;                  // of many rows: each thread packs its share
  Inputs gated_;                   // down's, of many rows that one product made of gate and up
  std::vector<Inputs> own_;        // of few rows: by thread
  std::vector<OwnRows> own_rows_;  // of many: by thread
  std::array<int64_t, kForms> own_packed_bytes_{};
  float* hidden_ = nullptr;    // (rows, hidden): the residual stream
  float* q_ = nullptr;         // (rows, heads, head_dim)
  float* k_ = nullptr;         // (rows, kv_heads, head_dim)
  float* v_ = nullptr;         // (rows, kv_heads, head_dim)
  float* attended_ = nullptr;  // (rows, heads, head_dim or value dims)
  float* gate_ = nullptr;      // (rows, ffn)
  float* up_ = nullptr;        // (rows, ffn)
  LatentRows latent_;
  ExpertRows experts_;
  float* step_hidden_ = nullptr;   // (rows, hidden): normalised, for drafts
  float* draft_hidden_ = nullptr;  // (sequences, hidden): of the last pass, normalised
  float* joined_ = nullptr;        // (rows, 2 · hidden)
  float* cosines_ = nullptr;       // (rows, rope dims / 2)
  float* sines_ = nullptr;         // (rows, rope dims / 2)
  int32_t* row_index_ = nullptr;   // (rows): 0, 1, 2, …: the row's row in cosines and sines
};

}  // namespace sluice::model
