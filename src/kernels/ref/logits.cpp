// What the sampler asks of one row of logits.
#include <algorithm>
#include <cmath>

#include "core/assert.h"
#include "kernels/ref/ref.h"

namespace sluice::kernels::ref {

int32_t argmax(const float* logits, int64_t count) {
  ASSERT(count > 0, "argmax of {} values", count);
  return static_cast<int32_t>(std::max_element(logits, logits + count) - logits);
}

double logsumexp(const float* logits, int64_t count) {
  const double max = double{logits[argmax(logits, count)]};
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(double{logits[i]} - max);
  return max + std::log(sum);
}

void softmax(const float* logits, int64_t count, float inverse_temperature, float* out) {
  const float max = logits[argmax(logits, count)];
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    out[i] = std::exp((logits[i] - max) * inverse_temperature);
    sum += double{out[i]};
  }
  const auto factor = static_cast<float>(1.0 / sum);
  for (int64_t i = 0; i < count; ++i) out[i] *= factor;
}

void top_k(const float* logits, int64_t count, int64_t k, ScoredId* out) {
  ASSERT(k <= count, "the {} largest of {}", k, count);
  if (k <= 0) return;
  const auto before = [](const ScoredId& a, const ScoredId& b) {
    return a.score != b.score ? a.score > b.score : a.id < b.id;
  };
  // A heap of the best k so far whose top is the worst of them.
  for (int64_t i = 0; i < k; ++i) out[i] = {static_cast<int32_t>(i), logits[i]};
  std::make_heap(out, out + k, before);
  for (int64_t i = k; i < count; ++i) {
    if (!(logits[i] > out[0].score)) continue;
    std::pop_heap(out, out + k, before);
    out[k - 1] = {static_cast<int32_t>(i), logits[i]};
    std::push_heap(out, out + k, before);
  }
  std::sort_heap(out, out + k, before);
}

}  // namespace sluice::kernels::ref
