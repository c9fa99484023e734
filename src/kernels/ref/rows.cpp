// Rows of a table, norms, rotary embedding, elementwise ops.
#include <cmath>

#include "core/math.h"
#include "core/thread_pool.h"
#include "kernels/ref/ref.h"

namespace sluice::kernels::ref {

void embed(const EmbedArgs& args, int thread, int threads) {
  const int64_t row_bytes = core::bytes_of(args.type, args.columns);
  const core::Range rows = core::split(args.rows, 1, thread, threads);
  for (int64_t r = rows.begin; r < rows.end; ++r)
    decode(args.type, args.table + args.ids[r] * row_bytes, args.columns,
           args.out + r * args.columns);
}

void rms_norm(const RmsNormArgs& args, int thread, int threads) {
  const core::Range rows = core::split(args.rows, 1, thread, threads);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* x = args.x + r * args.columns;
    float* out = args.out + r * args.columns;
    double squares = 0;
    for (int64_t c = 0; c < args.columns; ++c) squares += double{x[c]} * double{x[c]};
    const double mean = squares / static_cast<double>(args.columns);
    const auto factor = static_cast<float>(1.0 / std::sqrt(mean + double{args.epsilon}));
    for (int64_t c = 0; c < args.columns; ++c) out[c] = x[c] * factor * args.weight[c];
  }
}

void rope(const RopeArgs& args, int thread, int threads) {
  const int32_t half = args.rope_dims / 2;
  const bool adjacent = args.layout == RopeLayout::kAdjacentPairs;
  const core::Range rows = core::split(args.rows, 1, thread, threads);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* cosines = args.cosines + int64_t{args.positions[r]} * half;
    const float* sines = args.sines + int64_t{args.positions[r]} * half;
    for (int32_t h = 0; h < args.heads; ++h) {
      float* x = args.x + (r * args.heads + h) * args.head_dim;
      for (int32_t i = 0; i < half; ++i) {
        float& first = x[adjacent ? 2 * i : i];
        float& second = x[adjacent ? 2 * i + 1 : i + half];
        const float a = first, b = second;
        first = a * cosines[i] - b * sines[i];
        second = a * sines[i] + b * cosines[i];
      }
    }
  }
}

void add(const AddArgs& args, int thread, int threads) {
  const core::Range rows = core::split(args.rows, 1, thread, threads);
  for (int64_t i = rows.begin * args.columns; i < rows.end * args.columns; ++i)
    args.out[i] = args.a[i] + args.b[i];
}

void silu_mul(const SiluMulArgs& args, int thread, int threads) {
  const core::Range rows = core::split(args.rows, 1, thread, threads);
  for (int64_t i = rows.begin * args.columns; i < rows.end * args.columns; ++i) {
    const float x = args.gate[i];
    args.out[i] = x / (1.0f + std::exp(-x)) * args.up[i];
  }
}

}  // namespace sluice::kernels::ref
