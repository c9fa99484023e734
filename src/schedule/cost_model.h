// How long a step takes, learned from the steps before: ns = fixed + per_token · tokens +
// per_context · context, where context counts the pairs (computed token, earlier token) that
// attention reads.
#pragma once

#include <array>
#include <cstdint>

namespace sluice::schedule {

struct StepSize {
  int64_t tokens = 0;
  int64_t context = 0;
};

// The pairs of `tokens` new tokens after `before` earlier ones of one sequence.
constexpr int64_t context_of(int64_t tokens, int64_t before) {
  return tokens * before + tokens * (tokens + 1) / 2;
}

struct StepCost {
  double fixed_ns = 0.0;
  double token_ns = 0.0;
  double context_ns = 0.0;

  double of(StepSize size) const {
    return fixed_ns + token_ns * static_cast<double>(size.tokens) +
           context_ns * static_cast<double>(size.context);
  }
};

// Least squares over the steps seen, old ones fading with a half-life of about 140 steps. No
// coefficient is below 0.
class CostFit {
 public:
  void add(StepSize size, int64_t step_ns);
  StepCost cost() const { return cost_; }

 private:
  static constexpr int kTerms = 3;
  using Vector = std::array<double, kTerms>;

  void solve();

  std::array<Vector, kTerms> products_{};  // Σ weight · x · xᵀ, x = (1, tokens, context) scaled
  Vector responses_{};                     // Σ weight · x · ns
  StepCost cost_;
};

}  // namespace sluice::schedule
