#include "model/perplexity.h"

#include <algorithm>
#include <cmath>

#include "model/single_sequence.h"

namespace sluice::model {
namespace {

constexpr int32_t kStepTokensMax = 64;  // each scored token takes a row of logits

}  // namespace

double PerplexitySum::perplexity() const {
  return std::exp(negative_log_likelihood / static_cast<double>(tokens));
}

PerplexityScorer::PerplexityScorer(Model& model, int32_t window_tokens)
    : model_(model),
      window_tokens_(window_tokens),
      step_tokens_(std::min(kStepTokensMax, model.step_tokens_max())),
      logits_(static_cast<size_t>(int64_t{step_tokens_} * model.spec().vocab)) {}

PerplexitySum PerplexityScorer::score(std::span<const int32_t> window) {
  ASSERT(static_cast<int32_t>(window.size()) == window_tokens_, "a window of {} tokens, not {}",
         window.size(), window_tokens_);
  const int32_t context = window_tokens_ / 2;
  const int32_t scored = window_tokens_ - context - 1;
  const auto vocab = int64_t{model_.spec().vocab};
  SingleSequence sequence(model_, 0, window_tokens_);
  sequence.append({.ids = window.first(static_cast<size_t>(context)), .chunk = step_tokens_},
                  logits_.data());
  PerplexitySum sum;
  for (int32_t done = 0; done < scored; done += step_tokens_) {
    const int32_t rows = std::min(step_tokens_, scored - done);
    const auto ids = window.subspan(static_cast<size_t>(context + done));
    sequence.append(
        {.ids = ids.first(static_cast<size_t>(rows)), .chunk = step_tokens_, .logit_count = rows},
        logits_.data());
    for (int32_t row = 0; row < rows; ++row) {
      const float* logits = logits_.data() + row * vocab;
      sum.negative_log_likelihood += model_.ops().logsumexp(logits, vocab) -
                                     static_cast<double>(logits[ids[static_cast<size_t>(row) + 1]]);
    }
    sum.tokens += rows;
  }
  return sum;
}

}  // namespace sluice::model
