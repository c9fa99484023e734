#include "schedule/cost_model.h"

#include <cstddef>
#include <utility>

namespace sluice::schedule {
namespace {

constexpr double kFading = 0.995;
constexpr double kTokenScale = 1.0 / 64;  // brings the terms to about the same size
constexpr double kContextScale = 1.0 / 65536;
constexpr double kRidge = 1e-6;  // of a term that the steps did not vary: it stays near 0

}  // namespace

void CostFit::add(StepSize size, int64_t step_ns) {
  const Vector x = {1.0, static_cast<double>(size.tokens) * kTokenScale,
                    static_cast<double>(size.context) * kContextScale};
  for (size_t i = 0; i < kTerms; ++i) {
    for (size_t j = 0; j < kTerms; ++j) products_[i][j] = kFading * products_[i][j] + x[i] * x[j];
    responses_[i] = kFading * responses_[i] + x[i] * static_cast<double>(step_ns);
  }
  solve();
}

// Gaussian elimination of a positive definite 3×3 system, for the terms still allowed; a term that
// comes out negative is set to 0 and the rest solved again.
void CostFit::solve() {
  std::array<bool, kTerms> used = {true, true, true};
  Vector solution{};
  for (bool again = true; std::exchange(again, false);) {
    std::array<Vector, kTerms> a = products_;
    solution = responses_;
    for (size_t i = 0; i < kTerms; ++i) {
      a[i][i] += kRidge;
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
  cost_ = {.fixed_ns = solution[0],
           .token_ns = solution[1] * kTokenScale,
           .context_ns = solution[2] * kContextScale};
}

}  // namespace sluice::schedule
