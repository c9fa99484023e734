#include "model/perplexity.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sluice::model {
namespace {

constexpr int32_t kStepTokensMax = 64;  // each scored token takes a row of logits

void add_token(double logsumexp, float logit, PerplexitySum* sum) {
  sum->negative_log_likelihood += logsumexp - static_cast<double>(logit);
  ++sum->tokens;
}

}  // namespace

WindowLogits::WindowLogits(Model& model, int32_t window_tokens)
    : model_(model),
      window_tokens_(window_tokens),
      step_tokens_(std::min(kStepTokensMax, model.step_tokens_max())),
      logits_(static_cast<size_t>(int64_t{step_tokens_} * model.spec().vocab)) {}

void WindowLogits::begin(std::span<const int32_t> window) {
  ASSERT(static_cast<int32_t>(window.size()) == window_tokens_, "a window of {} tokens, not {}",
         window.size(), window_tokens_);
  const auto context = window.size() / 2;
  sequence_.emplace(model_, 0, window_tokens_);
  sequence_->append({.ids = window.first(context), .chunk = step_tokens_}, logits_.data());
  rest_ = window.subspan(context);
}

WindowLogits::Rows WindowLogits::next() {
  const size_t rows = std::min(static_cast<size_t>(step_tokens_), rest_.size() - 1);
  if (rows == 0) return {};
  sequence_->append(
      {.ids = rest_.first(rows), .chunk = step_tokens_, .logit_count = static_cast<int32_t>(rows)},
      logits_.data());
  const Rows found{rest_.subspan(1, rows), logits_.data()};
  rest_ = rest_.subspan(rows);
  return found;
}

double PerplexitySum::perplexity() const {
  return std::exp(negative_log_likelihood / static_cast<double>(tokens));
}

void add_window(WindowLogits& model, std::span<const int32_t> window, PerplexitySum* sum) {
  model.begin(window);
  for (auto rows = model.next(); !rows.next_ids.empty(); rows = model.next())
    for (size_t row = 0; row < rows.next_ids.size(); ++row) {
      const float* logits = rows.logits + static_cast<int64_t>(row) * model.vocab();
      add_token(model.ops().logsumexp(logits, model.vocab()), logits[rows.next_ids[row]], sum);
    }
}

double DivergenceSum::mean() const {
  return std::accumulate(divergences.begin(), divergences.end(), 0.0) /
         static_cast<double>(divergences.size());
}

double DivergenceSum::quantile(double share) const {
  std::vector<double> sorted = divergences;
  std::sort(sorted.begin(), sorted.end());
  const double at = share * static_cast<double>(sorted.size() - 1);
  return sorted[static_cast<size_t>(std::ceil(at))];
}

double DivergenceSum::top_agreement() const {
  return static_cast<double>(same_top) / static_cast<double>(divergences.size());
}

void add_window(WindowLogits& model, WindowLogits& base, std::span<const int32_t> window,
                DivergenceSum* sum) {
  ASSERT(model.vocab() == base.vocab(), "vocabularies of {} and {}", model.vocab(), base.vocab());
  const int64_t vocab = model.vocab();
  model.begin(window);
  base.begin(window);
  for (auto rows = model.next(); !rows.next_ids.empty(); rows = model.next()) {
    const auto base_rows = base.next();
    ASSERT(base_rows.next_ids.size() == rows.next_ids.size(), "{} rows beside {}",
           base_rows.next_ids.size(), rows.next_ids.size());
    for (size_t row = 0; row < rows.next_ids.size(); ++row) {
      const float* own = rows.logits + static_cast<int64_t>(row) * vocab;
      const float* other = base_rows.logits + static_cast<int64_t>(row) * vocab;
      const auto count = static_cast<size_t>(vocab);
      add_token(model.ops().logsumexp(own, vocab), own[rows.next_ids[row]], &sum->model);
      add_token(base.ops().logsumexp(other, vocab), other[rows.next_ids[row]], &sum->base);
      sum->divergences.push_back(divergence({other, count}, {own, count}));
      if (model.ops().argmax(own, vocab) == base.ops().argmax(other, vocab)) ++sum->same_top;
    }
  }
}

double divergence(std::span<const float> base_logits, std::span<const float> logits) {
  const auto sum_of = [](std::span<const float> row, double largest) {
    double sum = 0;
    for (const float logit : row) sum += std::exp(static_cast<double>(logit) - largest);
    return sum;
  };
  const double base_max = *std::max_element(base_logits.begin(), base_logits.end());
  const double own_max = *std::max_element(logits.begin(), logits.end());
  const double base_sum = sum_of(base_logits, base_max);
  // ln(p / q) = (base logit − its logsumexp) − (logit − its logsumexp)
  const double shift =
      (own_max + std::log(sum_of(logits, own_max))) - (base_max + std::log(base_sum));
  double total = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const auto base_logit = static_cast<double>(base_logits[i]);
    total +=
        std::exp(base_logit - base_max) * (base_logit - static_cast<double>(logits[i]) + shift);
  }
  return std::max(0.0, total / base_sum);
}

}  // namespace sluice::model
