// Row-wise ops over `Vector` (avx2/vector.h or avx512/vector.h, included before).
#pragma once

#include "kernels/cpu/generic/exp.h"
#include "kernels/cpu/generic/packed.h"
#include "kernels/ops.h"

namespace sluice::kernels {
namespace {

// Calls whole(offset) for each full vector of `count` elements, and rest(offset, left) for the end.
template <typename Whole, typename Rest>
inline void for_vectors(int64_t count, const Whole& whole, const Rest& rest) {
  int64_t i = 0;
  for (; i + Vector::kLanes <= count; i += Vector::kLanes) whole(i);
  if (i < count) rest(i, count - i);
}

inline void rms_norm_row(const float* x, const float* weight, float epsilon, int64_t columns,
                         float* out) {
  using V = Vector;
  V::Floats squares = V::zero();
  for_vectors(
      columns,
      [&](int64_t i) {
        const V::Floats v = V::load(x + i);
        squares = V::fma(v, v, squares);
      },
      [&](int64_t i, int64_t left) {
        const V::Floats v = V::load_first(x + i, left);
        squares = V::fma(v, v, squares);
      });
  const float mean = V::sum_of(squares) / static_cast<float>(columns);
  const V::Floats factor = V::set(1.0f / __builtin_sqrtf(mean + epsilon));
  for_vectors(
      columns,
      [&](int64_t i) {
        V::store(out + i, V::mul(V::mul(V::load(x + i), factor), V::load(weight + i)));
      },
      [&](int64_t i, int64_t left) {
        const V::Floats v = V::mul(V::load_first(x + i, left), factor);
        V::store_first(out + i, V::mul(v, V::load_first(weight + i, left)), left);
      });
}

inline void rms_norm_rows(const RmsNormArgs& args, int thread, int threads) {
  const Share rows = share_of(args.rows, 1, thread, threads);
  for (int64_t r = rows.begin; r < rows.end; ++r)
    rms_norm_row(args.x + r * args.columns, args.weight, args.epsilon, args.columns,
                 args.out + r * args.columns);
}

// Pairs lie side by side: (a·cos - b·sin, b·cos + a·sin) in one vector.
inline void rope_head_adjacent(float* x, const float* cosines, const float* sines, int64_t half) {
  using V = Vector;
  constexpr int64_t kPairs = V::kLanes / 2;
  int64_t i = 0;
  for (; i + kPairs <= half; i += kPairs) {
    const V::Floats v = V::load(x + 2 * i);
    const V::Floats turned = V::mul(V::swap_pairs(v), V::load_doubled(sines + i));
    V::store(x + 2 * i, V::fma_subtract_add(v, V::load_doubled(cosines + i), turned));
  }
  for (; i < half; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = __builtin_fmaf(a, cosines[i], -(b * sines[i]));
    x[2 * i + 1] = __builtin_fmaf(b, cosines[i], a * sines[i]);
  }
}

inline void rope_head_split(float* x, const float* cosines, const float* sines, int64_t half) {
  using V = Vector;
  const auto turn = [](V::Floats& a, V::Floats& b, V::Floats c, V::Floats s) {
    const V::Floats first = V::sub(V::mul(a, c), V::mul(b, s));
    b = V::fma(b, c, V::mul(a, s));
    a = first;
  };
  for_vectors(
      half,
      [&](int64_t i) {
        V::Floats a = V::load(x + i), b = V::load(x + half + i);
        turn(a, b, V::load(cosines + i), V::load(sines + i));
        V::store(x + i, a);
        V::store(x + half + i, b);
      },
      [&](int64_t i, int64_t left) {
        V::Floats a = V::load_first(x + i, left), b = V::load_first(x + half + i, left);
        turn(a, b, V::load_first(cosines + i, left), V::load_first(sines + i, left));
        V::store_first(x + i, a, left);
        V::store_first(x + half + i, b, left);
      });
}

inline void rope_rows(const RopeArgs& args, int thread, int threads) {
  const int64_t half = args.rope_dims / 2;
  const Share rows = share_of(args.rows, 1, thread, threads);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* cosines = args.cosines + args.positions[r] * half;
    const float* sines = args.sines + args.positions[r] * half;
    for (int32_t h = 0; h < args.heads; ++h) {
      float* x = args.x + (r * args.heads + h) * args.head_dim;
      if (args.layout == RopeLayout::kAdjacentPairs) {
        rope_head_adjacent(x, cosines, sines, half);
      } else {
        rope_head_split(x, cosines, sines, half);
      }
    }
  }
}

// out = combine(a, b) over the thread's rows.
template <typename Combine>
inline void for_elements(const float* a, const float* b, float* out, int64_t columns, Share rows,
                         const Combine& combine) {
  using V = Vector;
  const int64_t base = rows.begin * columns;
  for_vectors((rows.end - rows.begin) * columns,
              [&](int64_t i) {
                V::store(out + base + i, combine(V::load(a + base + i), V::load(b + base + i)));
              },
              [&](int64_t i, int64_t left) {
                V::store_first(
                    out + base + i,
                    combine(V::load_first(a + base + i, left), V::load_first(b + base + i, left)),
                    left);
              });
}

inline void add_rows(const AddArgs& args, int thread, int threads) {
  for_elements(args.a, args.b, args.out, args.columns, share_of(args.rows, 1, thread, threads),
               [](Vector::Floats a, Vector::Floats b) { return Vector::add(a, b); });
}

inline void silu_mul_rows(const SiluMulArgs& args, int thread, int threads) {
  using V = Vector;
  for_elements(args.gate, args.up, args.out, args.columns, share_of(args.rows, 1, thread, threads),
               [](V::Floats gate, V::Floats up) {
                 const V::Floats below = V::add(V::set(1), exponential(V::sub(V::zero(), gate)));
                 return V::mul(V::div(gate, below), up);
               });
}

// Blocks of 32: scale = max |x| / 127, codes rounded to nearest, ties to even.
inline void quantize_row(const float* x, const ActivationLayout& layout, int64_t row,
                         std::byte* packed) {
  using V = Vector;
  constexpr int kVectors = kBlock / V::kLanes;
  constexpr float kSmallest = 1e-30f;  // a block below this is zero
  for (int64_t b = 0; b < layout.blocks(); ++b, packed += layout.block_bytes()) {
    auto* codes_of_row = reinterpret_cast<int8_t*>(packed + layout.codes_at(row));
    std::byte* scales = packed + layout.scales_at(row);
    V::Floats values[kVectors];
    V::Floats largest = V::zero();
    for (int i = 0; i < kVectors; ++i) {
      values[i] = V::load(x + b * kBlock + i * V::kLanes);
      largest = V::max(largest, V::abs(values[i]));
    }
    const float range = V::max_of(largest);
    const bool is_zero = range < kSmallest;
    const float scale = is_zero ? 0.0f : range / 127.0f;
    const V::Floats inverse = V::set(is_zero ? 0.0f : 127.0f / range);
    V::Ints sums = V::zero_ints();
    for (int i = 0; i < kVectors; ++i) {
      const V::Ints codes = V::rounded(V::mul(values[i], inverse));
      sums = V::add_ints(sums, codes);
      V::store_i8(codes_of_row + i * V::kLanes, codes);
    }
    const int32_t sum = V::sum_of_ints(sums);
    const int32_t zero_sum = -128 * sum;
    const float scaled_sum = scale * static_cast<float>(sum);
    __builtin_memcpy(scales, &scale, 4);
    __builtin_memcpy(scales + layout.array_bytes(), &scaled_sum, 4);
    __builtin_memcpy(scales + 2 * layout.array_bytes(), &zero_sum, 4);
  }
}

inline void quantize_rows(const QuantizeArgs& args, int thread, int threads) {
  const ActivationLayout layout{args.inputs, args.rows};
  const Share rows = share_of(args.rows, 1, thread, threads);
  for (int64_t r = rows.begin; r < rows.end; ++r)
    quantize_row(args.x + r * args.inputs, layout, r, args.packed);
}

}  // namespace
}  // namespace sluice::kernels
