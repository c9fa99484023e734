// The online softmax of one query, in double (Milakov, Gimelshein 2018).
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace sluice::kernels::ref {

// Σ e^score · value / Σ e^score over what was added; values have at most kDimsMax dimensions.
template <int kDimsMax>
class RunningSoftmax {
 public:
  void add(double score, const float* value, int32_t dims) {
    if (score > max_) {
      const double shrink = std::exp(max_ - score);
      sum_ *= shrink;
      for (int32_t d = 0; d < dims; ++d) values_[static_cast<size_t>(d)] *= shrink;
      max_ = score;
    }
    const double weight = std::exp(score - max_);
    sum_ += weight;
    for (int32_t d = 0; d < dims; ++d) values_[static_cast<size_t>(d)] += weight * double{value[d]};
  }

  void finish(float* out, int32_t dims) const {
    for (int32_t d = 0; d < dims; ++d)
      out[d] = static_cast<float>(values_[static_cast<size_t>(d)] / sum_);
  }

 private:
  double max_ = -std::numeric_limits<double>::infinity();
  double sum_ = 0;
  std::array<double, kDimsMax> values_{};
};

}  // namespace sluice::kernels::ref
