#include "schedule/cost_model.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace sluice::schedule {
namespace {

constexpr double kFading = 0.995;
constexpr double kTokenScale = 1.0 / 64;  // brings the terms to about the same size
constexpr double kContextScale = 1.0 / 65536;
// Shares of what all steps weigh:
constexpr double kRidge = 1e-8;    // of a term that the steps did not vary: it stays near 0
constexpr double kBending = 1e-6;  // of the squared difference of two neighbouring pieces

}  // namespace

void CostFit::add(StepSize size, int64_t step_ns) {
  Vector x{};
  x[0] = 1.0;
  const auto pieces = pieces_of(size.tokens);
  for (size_t i = 0; i < kCostPieces; ++i) x[1 + i] = static_cast<double>(pieces[i]) * kTokenScale;
  x[kTerms - 1] = static_cast<double>(size.context) * kContextScale;
  const double ns = static_cast<double>(std::max<int64_t>(step_ns, 1));
  for (size_t i = 0; i < kTerms; ++i) {
    for (size_t j = 0; j < kTerms; ++j)
      products_[i][j] = kFading * products_[i][j] + x[i] * x[j] / (ns * ns);
    responses_[i] = kFading * responses_[i] + x[i] / ns;
  }
  solve();
}

// Gaussian elimination of a positive definite system, for the terms still allowed; a term that
// comes out negative is set to 0 and the rest solved again.
void CostFit::solve() {
  std::array<bool, kTerms> used;
  used.fill(true);
  Vector solution{};
  for (bool again = true; std::exchange(again, false);) {
    std::array<Vector, kTerms> a = products_;
    solution = responses_;
    const double bending = kBending * products_[0][0], ridge = kRidge * products_[0][0];
    for (size_t i = 1; i < kCostPieces; ++i) {
      a[i][i] += bending;
      a[i + 1][i + 1] += bending;
      a[i][i + 1] -= bending;
      a[i + 1][i] -= bending;
    }
    for (size_t i = 0; i < kTerms; ++i) {
      a[i][i] += ridge;
      if (used[i]) continue;
      solution[i] = 0.0;
      for (size_t j = 0; j < kTerms; ++j) a[i][j] = a[j][i] = (i == j) ? 1.0 : 0.0;
    }
    for (size_t i = 0; i < kTerms; ++i)
      for (size_t r = 0; r < kTerms; ++r) {
        if (r == i) continue;
        const double factor = a[r][i] / a[i][i];
        for (size_t c = i; c < kTerms; ++c) a[r][c] -= factor * a[i][c];
        solution[r] -= factor * solution[i];
      }
    for (size_t i = 0; i < kTerms; ++i) {
      solution[i] /= a[i][i];
      if (solution[i] >= 0.0 || !used[i]) continue;
      used[i] = false;
      again = true;
    }
  }
  cost_.fixed_ns = solution[0];
  for (size_t i = 0; i < kCostPieces; ++i) cost_.token_ns[i] = solution[1 + i] * kTokenScale;
  cost_.context_ns = solution[kTerms - 1] * kContextScale;
}

}  // namespace sluice::schedule
