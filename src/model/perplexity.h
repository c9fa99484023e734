// How well a model predicts a text, and how far its predictions are from another model's: windows
// of tokens whose second half is predicted, as llama-perplexity counts.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "model/model.h"
#include "model/single_sequence.h"

namespace sluice::model {

// The logits of a window's predicted tokens, some at a time. Uses the model's first KV pages.
class WindowLogits {
 public:
  WindowLogits(Model& model, int32_t window_tokens);

  // What stood before may go: one window at a time. Runs its first half.
  void begin(std::span<const int32_t> window);

  struct Rows {
    std::span<const int32_t> next_ids;  // that each row predicts; empty at the window's end
    const float* logits = nullptr;      // (next_ids, vocab), valid until the next call
  };
  Rows next();
  int64_t vocab() const { return model_.spec().vocab; }
  const kernels::Ops& ops() const { return model_.ops(); }

 private:
  Model& model_;
  const int32_t window_tokens_;
  const int32_t step_tokens_;
  std::optional<SingleSequence> sequence_;
  std::span<const int32_t> rest_;  // of the window
  std::vector<float> logits_;      // (step_tokens, vocab)
};

struct PerplexitySum {
  double negative_log_likelihood = 0;  // natural, over all predicted ids
  int64_t tokens = 0;                  // that were predicted

  double perplexity() const;
};

// Predicts the ids of `window` after its first half from those before each.
void add_window(WindowLogits& model, std::span<const int32_t> window, PerplexitySum* sum);

// Predictions of a model beside those of a base, token by token.
struct DivergenceSum {
  PerplexitySum model;
  PerplexitySum base;
  std::vector<double> divergences;  // Kullback-Leibler of the model from the base, nats, each >= 0
  int64_t same_top = 0;             // tokens whose likeliest id is the same

  double mean() const;
  // The divergence that `share` (0 to 1) of the tokens do not exceed.
  double quantile(double share) const;
  double top_agreement() const;
};

// Both must have the same vocabulary.
void add_window(WindowLogits& model, WindowLogits& base, std::span<const int32_t> window,
                DivergenceSum* sum);

// Σ p · ln(p / q) over the distributions of two rows of logits (count).
double divergence(std::span<const float> base_logits, std::span<const float> logits);

}  // namespace sluice::model
