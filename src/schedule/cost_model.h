// How long a step takes, learned from the steps before: a machine's speed surface over the step's
// tokens and its context, the pairs (computed token, earlier token) that attention reads.
//
// Along the tokens it is a line with bends: a few rows come for the price of reading the weights
// once, more rows fill the units for arithmetic better and better. Along the context it is
// straight.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
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

// Tokens at which the line bends: where kernels change how they multiply.
inline constexpr std::array<int64_t, 5> kCostBends = {4, 16, 32, 128, 256};
inline constexpr size_t kCostPieces = kCostBends.size() + 1;

// How many of `tokens` lie on each piece of the line.
constexpr std::array<int64_t, kCostPieces> pieces_of(int64_t tokens) {
  std::array<int64_t, kCostPieces> pieces{};
  int64_t begin = 0;
  for (size_t i = 0; i < kCostPieces; ++i) {
    const int64_t end = i < kCostBends.size() ? std::min(tokens, kCostBends[i]) : tokens;
    pieces[i] = std::max<int64_t>(end - begin, 0);
    begin += pieces[i];
  }
  return pieces;
}

struct StepCost {
  double fixed_ns = 0.0;
  std::array<double, kCostPieces> token_ns{};  // of one more token, on each piece
  double context_ns = 0.0;

  static constexpr StepCost straight(double fixed_ns, double token_ns, double context_ns) {
    StepCost cost{.fixed_ns = fixed_ns, .context_ns = context_ns};
    cost.token_ns.fill(token_ns);
    return cost;
  }
  constexpr double of(StepSize size) const {
    const auto pieces = pieces_of(size.tokens);
    double ns = fixed_ns + context_ns * static_cast<double>(size.context);
    for (size_t i = 0; i < kCostPieces; ++i) ns += token_ns[i] * static_cast<double>(pieces[i]);
    return ns;
  }
};

// Least squares of the relative error over the steps seen, old ones fading with a half-life of
// about 140 steps. Pieces that no step ended on go on as their neighbours do. No coefficient is
// below 0.
class CostFit {
 public:
  void add(StepSize size, int64_t step_ns);
  StepCost cost() const { return cost_; }

 private:
  static constexpr size_t kTerms = 2 + kCostPieces;
  using Vector = std::array<double, kTerms>;

  void solve();

  // x = (1, tokens by piece, context) scaled; a step weighs 1 / ns².
  std::array<Vector, kTerms> products_{};  // Σ weight · x · xᵀ
  Vector responses_{};                     // Σ weight · x · ns
  StepCost cost_;
};

}  // namespace sluice::schedule
