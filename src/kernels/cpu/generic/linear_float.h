// Linear layers over `Vector` (included before): float weights (F32, F16, BF16) with float
// activations. Of every (row, output) sum = fma(w, x, sum) in the order of k, whatever the tile.
#pragma once

#include "kernels/cpu/generic/linear.h"

namespace sluice::kernels {
namespace {

template <core::DType kType>
constexpr int64_t kElementBytes = kType == core::DType::kF32 ? 4 : 2;

template <core::DType kType>
inline Vector::Floats load_weights(const std::byte* at) {
  if constexpr (kType == core::DType::kF32) {
    return Vector::load(reinterpret_cast<const float*>(at));
  } else if constexpr (kType == core::DType::kF16) {
    return Vector::load_f16(at);
  } else {
    return Vector::load_bf16(at);
  }
}

// kRows rows from `row` on × kVectors vectors of outputs from `output` on.
template <core::DType kType, int kRows, int kVectors>
inline void float_tile(const LinearArgs& args, int64_t row, int64_t output) {
  using V = Vector;
  const int64_t inputs = args.weights.inputs;
  const float* x = args.x + row * inputs;
  const int64_t last = (args.weights.outputs - 1) / V::kLanes * V::kLanes;
  const std::byte* weights[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const int64_t at = output + v * V::kLanes < last ? output + v * V::kLanes : last;
    weights[v] =
        args.weights.data + (at / kPanel * inputs * kPanel + at % kPanel) * kElementBytes<kType>;
  }
  V::Floats sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) sums[r][v] = V::zero();
  for (int64_t k = 0; k < inputs; ++k) {
    V::Floats w[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      w[v] = load_weights<kType>(weights[v] + k * kPanel * kElementBytes<kType>);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const V::Floats xk = V::set(x[r * inputs + k]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = V::fma(w[v], xk, sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) finish(args, row + r, output + v * V::kLanes, sums[r][v]);
}

template <core::DType kType>
inline void linear_float(const LinearArgs& args, int thread, int threads) {
  constexpr int kTile = Vector::kTileRows;
  constexpr int kVectors = Vector::kWideDot ? 4 : 3;
  const Share outputs = share_of(args.weights.outputs, kPanel, thread, threads);
  constexpr int64_t kStep = kVectors * Vector::kLanes;
  for (int64_t output = outputs.begin; output < outputs.end; output += kStep) {
    // A share ends on a panel, a step may not: the last ones are one vector wide.
    const bool whole = output + kStep <= outputs.end;
    int64_t r = 0;
    for (; whole && r + kTile <= args.rows; r += kTile)
      float_tile<kType, kTile, kVectors>(args, r, output);
    for (; whole && r < args.rows; ++r) float_tile<kType, 1, kVectors>(args, r, output);
    for (int64_t at = output; !whole && at < outputs.end; at += Vector::kLanes)
      for (int64_t row = 0; row < args.rows; ++row) float_tile<kType, 1, 1>(args, row, at);
  }
}

// The table's entry: every type to its loop.
inline void linear_any(const LinearArgs& args, int thread, int threads) {
  using core::DType;
  const bool is_int8 = visit_format(args.weights.type, [&]<PackedFormat kFormat>() {
    linear_int8<kFormat>(args, thread, threads);
  });
  if (is_int8) return;
  if (args.weights.type == DType::kF32) return linear_float<DType::kF32>(args, thread, threads);
  if (args.weights.type == DType::kF16) return linear_float<DType::kF16>(args, thread, threads);
  linear_float<DType::kBF16>(args, thread, threads);
}

}  // namespace
}  // namespace sluice::kernels
