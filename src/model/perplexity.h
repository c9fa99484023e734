// How well a model predicts a text: windows of tokens whose second half is predicted, as
// llama-perplexity counts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/model.h"

namespace sluice::model {

struct PerplexitySum {
  double negative_log_likelihood = 0;  // natural, over all predicted ids
  int64_t tokens = 0;                  // that were predicted

  double perplexity() const;
};

// Scores windows of one length one after the other. Uses the model's first KV pages.
class PerplexityScorer {
 public:
  PerplexityScorer(Model& model, int32_t window_tokens);

  // Predicts the ids of `window` after its first half from those before each.
  PerplexitySum score(std::span<const int32_t> window);

 private:
  Model& model_;
  const int32_t window_tokens_;
  const int32_t step_tokens_;
  std::vector<float> logits_;  // (step_tokens, vocab)
};

}  // namespace sluice::model
