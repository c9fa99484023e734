// The forward pass of a decoder: blocks over a step's rows, in buffers that last from load to end.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "core/buffer.h"
#include "core/thread_pool.h"
#include "kernels/ops.h"
#include "model/spec.h"
#include "model/step.h"
#include "model/weights.h"

namespace sluice::model {

class Forward {
 public:
  struct Parts {
    const Spec& spec;
    const Weights& weights;
    const kernels::Ops& ops;
    core::ThreadPool& pool;
    int32_t step_tokens_max;
  };
  explicit Forward(const Parts& parts);

  int64_t activation_bytes() const { return storage_.bytes(); }

  // `kv` has one entry a layer. logits: (logit_rows, vocab).
  void step(const StepBatch& batch, std::span<const kernels::KvLayer> kv, float* logits);

 private:
  // One product of a step: y = x · weights^T [+ bias] [+ residual].
  struct Product {
    const Matrix* weights = nullptr;
    Vector bias = nullptr;
    const float* residual = nullptr;
    float* y = nullptr;
  };

  void lay_out();
  bool uses(kernels::ActivationForm form) const;
  std::byte*& packed(kernels::ActivationForm form);
  void prepare(const StepBatch& batch);
  void attend(const LayerWeights& w, const kernels::KvLayer& kv);
  void keep_rows(std::span<const int32_t> kept);
  void attention_output(const LayerWeights& w);
  void ffn_block(const LayerWeights& w);
  void output_block(float* logits);
  void observe(int32_t layer, const float* hidden) const;

  // Row-wise work: shared by the pool where there are rows enough, else done by the caller.
  template <typename Work>
  void for_rows(int64_t rows, const Work& work);
  void normalize(const float* x, Vector weight, int thread, int threads);
  // The step's queries or keys.
  struct Heads {
    float* x = nullptr;  // (rows, count, head_dim)
    int32_t count = 0;
    Vector norm = nullptr;  // (head_dim) or null
  };
  void normalize_heads(const Heads& heads, int thread, int threads);
  void turn(const Heads& heads, int thread, int threads);
  // Packs x (rows, inputs) once for the products that follow, in the forms that they want.
  void quantize(const float* x, std::span<const Matrix* const> users, int thread, int threads);
  // Every weight product of the model. The products share their input x.
  void linear(const float* x, int64_t rows, std::initializer_list<Product> products);

  const Spec& spec_;
  const Weights& weights_;
  const kernels::Ops& ops_;
  core::ThreadPool& pool_;
  const int32_t rows_max_;
  std::vector<float> rope_frequencies_;

  const StepBatch* batch_ = nullptr;  // of the step that runs
  int64_t rows_ = 0;

  core::Buffer storage_;                // what follows points into it
  float* hidden_ = nullptr;             // (rows, hidden): the residual stream
  float* normed_ = nullptr;             // (rows, hidden)
  std::array<std::byte*, 4> packed_{};  // by form: the input of the products that come next
  float* q_ = nullptr;                  // (rows, heads, head_dim)
  float* k_ = nullptr;                  // (rows, kv_heads, head_dim)
  float* v_ = nullptr;                  // (rows, kv_heads, head_dim)
  float* attended_ = nullptr;           // (rows, heads, head_dim)
  float* gate_ = nullptr;               // (rows, ffn)
  float* up_ = nullptr;                 // (rows, ffn)
  float* cosines_ = nullptr;            // (rows, rope dims / 2)
  float* sines_ = nullptr;              // (rows, rope dims / 2)
  int32_t* positions_ = nullptr;        // (rows)
  int32_t* row_index_ = nullptr;        // (rows): 0, 1, 2, …: the row's row in cosines and sines
};

}  // namespace sluice::model
