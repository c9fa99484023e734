// Ops on a row of logits over `Vector` (included before).
#pragma once

#include "kernels/cpu/generic/exp.h"
#include "kernels/ops.h"

namespace sluice::kernels {
namespace {

// Vectors of floats that are summed before they join a sum in double.
constexpr int64_t kSumRun = 64;

inline float largest_of(const float* x, int64_t count) {
  using V = Vector;
  V::Floats largest = V::set(x[0]);
  int64_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) largest = V::max(largest, V::load(x + i));
  float result = V::max_of(largest);
  for (; i < count; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

inline int32_t argmax_of(const float* x, int64_t count) {
  const float largest = largest_of(x, count);
  int64_t i = 0;
  while (i + Vector::kLanes <= count &&
         Vector::not_below(Vector::load(x + i), Vector::set(largest)) == 0)
    i += Vector::kLanes;
  while (i + 1 < count && x[i] != largest) ++i;
  return static_cast<int32_t>(i);
}

// Σ e^((x - shift) · factor); the terms go to out where that is not null.
inline double sum_of_exponentials(const float* x, int64_t count, float shift, float factor,
                                  float* out) {
  using V = Vector;
  const auto term = [&](V::Floats v) {
    return exponential(V::mul(V::sub(v, V::set(shift)), V::set(factor)));
  };
  double sum = 0;
  int64_t i = 0;
  while (i + V::kLanes <= count) {
    V::Floats run = V::zero();
    for (int64_t n = 0; n < kSumRun && i + V::kLanes <= count; ++n, i += V::kLanes) {
      const V::Floats e = term(V::load(x + i));
      if (out != nullptr) V::store(out + i, e);
      run = V::add(run, e);
    }
    sum += double{V::sum_of(run)};
  }
  if (i < count) {
    const V::Floats e =
        V::select_first(term(V::load_first(x + i, count - i)), V::zero(), count - i);
    if (out != nullptr) V::store_first(out + i, e, count - i);
    sum += double{V::sum_of(e)};
  }
  return sum;
}

inline double logsumexp_of(const float* x, int64_t count) {
  const float max = largest_of(x, count);
  return double{max} + __builtin_log(sum_of_exponentials(x, count, max, 1, nullptr));
}

inline void softmax_of(const float* x, int64_t count, float inverse_temperature, float* out) {
  using V = Vector;
  const double sum = sum_of_exponentials(x, count, largest_of(x, count), inverse_temperature, out);
  const V::Floats factor = V::set(static_cast<float>(1.0 / sum));
  int64_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes)
    V::store(out + i, V::mul(V::load(out + i), factor));
  if (i < count)
    V::store_first(out + i, V::mul(V::load_first(out + i, count - i), factor), count - i);
}

inline bool comes_before(const ScoredId& a, const ScoredId& b) {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

// Moves heap[at] down; the top of the heap comes last of all.
inline void sift_down(ScoredId* heap, int64_t size, int64_t at) {
  for (int64_t child = 2 * at + 1; child < size; at = child, child = 2 * at + 1) {
    if (child + 1 < size && comes_before(heap[child], heap[child + 1])) ++child;
    if (!comes_before(heap[at], heap[child])) return;
    const ScoredId swapped = heap[at];
    heap[at] = heap[child];
    heap[child] = swapped;
  }
}

// A heap of the best k so far whose top is the worst of them; whole vectors below it are skipped.
inline void top_k_of(const float* x, int64_t count, int64_t k, ScoredId* out) {
  using V = Vector;
  if (k <= 0) return;
  for (int64_t i = 0; i < k; ++i) out[i] = {static_cast<int32_t>(i), x[i]};
  for (int64_t i = k / 2 - 1; i >= 0; --i) sift_down(out, k, i);
  const auto offer = [&](int64_t i) {
    if (!(x[i] > out[0].score)) return;
    out[0] = {static_cast<int32_t>(i), x[i]};
    sift_down(out, k, 0);
  };
  int64_t i = k;
  for (; i + V::kLanes <= count; i += V::kLanes) {
    if (V::not_below(V::load(x + i), V::set(out[0].score)) == 0) continue;
    for (int64_t lane = 0; lane < V::kLanes; ++lane) offer(i + lane);
  }
  for (; i < count; ++i) offer(i);
  for (int64_t size = k - 1; size > 0; --size) {
    const ScoredId last = out[0];
    out[0] = out[size];
    out[size] = last;
    sift_down(out, size, 0);
  }
}

}  // namespace
}  // namespace sluice::kernels
