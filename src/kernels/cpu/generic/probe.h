// Loops that do nothing but keep one unit of the processor busy, over `Vector` (included before).
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels {
namespace {

constexpr int kProbeChains = 12;  // independent sums: covers latency × units

// Reads everything once; the sum is for the optimiser.
inline int64_t read_all(const std::byte* data, int64_t bytes) {
  using V = Vector;
  constexpr int64_t kVectorBytes = sizeof(V::Ints);
  V::Ints sums[4] = {V::zero_ints(), V::zero_ints(), V::zero_ints(), V::zero_ints()};
  for (int64_t i = 0; i + 4 * kVectorBytes <= bytes; i += 4 * kVectorBytes)
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j)
      sums[j] = V::add_ints(sums[j], V::load_ints(data + i + j * kVectorBytes));
  return V::sum_of_ints(V::add_ints(V::add_ints(sums[0], sums[1]), V::add_ints(sums[2], sums[3])));
}

// Operations done (a multiplication and an addition are two); `sink` is for the optimiser.
inline int64_t int8_dots(int64_t rounds, int32_t* sink) {
  using V = Vector;
  const V::Ints weights = V::set_int(*sink), x = V::set_int(*sink + 1);
  V::Ints sums[kProbeChains];
  for (int c = 0; c < kProbeChains; ++c) sums[c] = V::zero_ints();
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 16
    for (int c = 0; c < kProbeChains; ++c) sums[c] = V::dot(sums[c], weights, x);
  for (int c = 0; c < kProbeChains; ++c) *sink += V::sum_of_ints(sums[c]);
  return rounds * kProbeChains * V::kLanes * 4 * 2;
}

inline int64_t float_fmas(int64_t rounds, int32_t* sink) {
  using V = Vector;
  const V::Floats a = V::set(static_cast<float>(*sink)), b = V::set(0.25f);
  V::Floats sums[kProbeChains];
  for (int c = 0; c < kProbeChains; ++c) sums[c] = V::set(static_cast<float>(c));
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 16
    for (int c = 0; c < kProbeChains; ++c) sums[c] = V::fma(sums[c], b, a);
  for (int c = 0; c < kProbeChains; ++c) *sink += V::sum_of(sums[c]) > 1e30f ? 1 : 0;
  return rounds * kProbeChains * V::kLanes * 2;
}

}  // namespace
}  // namespace sluice::kernels
