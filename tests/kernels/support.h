// Inputs for kernel tests: random values and weights, and every table that this machine can run.
#pragma once

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/buffer.h"
#include "core/cpu.h"
#include "core/rng.h"
#include "core/thread_pool.h"
#include "kernels/registry.h"

namespace sluice::kernels {

inline std::vector<const Ops*> runnable_ops() {
  std::vector<const Ops*> tables;
  const core::CpuInfo cpu = core::detect_cpu();
  for (const Ops* ops : all_ops())
    if (ops->needs(cpu)) tables.push_back(ops);
  return tables;
}

inline float normal(core::Rng& rng) {
  const double radius = std::sqrt(-2 * std::log(1 - rng.unit()));
  return static_cast<float>(radius * std::cos(6.283185307179586 * rng.unit()));
}

inline std::vector<float> normals(core::Rng& rng, int64_t count, float scale = 1) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = scale * normal(rng);
  return values;
}

// Random blocks of `type` whose scales are finite and of the size of real weights.
std::vector<std::byte> random_blocks(core::Rng& rng, core::DType type, int64_t values);

// Zeroed memory on a cache line, for packed weights and activations.
inline core::Buffer buffer_of(int64_t bytes) {
  return core::Buffer(bytes > 0 ? bytes : 64);
}

// The upper halves of the wide registers, which an op must not leave in use: code for SSE is up to
// ten times slower from then on. Never in use where the processor does not say.
void clear_upper_halves();
bool upper_halves_in_use();

// Runs op(args, thread, threads) for all threads, one after the other.
template <typename Args>
void run_all(void (*op)(const Args&, int, int), const Args& args, int threads = 1) {
  clear_upper_halves();
  for (int t = 0; t < threads; ++t) op(args, t, threads);
  EXPECT_FALSE(upper_halves_in_use());
}

// Root of the mean square of a - b over that of b: one number for an op's error. Not a number
// anywhere gives not a number.
inline double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  double differences = 0, squares = 1e-60;
  for (size_t i = 0; i < b.size(); ++i) {
    const double difference = double{a[i]} - double{b[i]};
    differences += difference * difference;
    squares += double{b[i]} * double{b[i]};
  }
  return std::sqrt(differences / squares);
}

inline bool same_bits(const float* a, const float* b, size_t count) {
  return std::memcmp(a, b, count * sizeof(float)) == 0;
}

// Weights packed by `ops`, kept alive together with their memory.
struct Packed {
  core::Buffer memory;
  PackedWeights weights;
};
inline Packed pack_weights(const Ops& ops, core::DType type, int64_t outputs, int64_t inputs,
                           const std::vector<std::byte>& blocks, int threads = 1) {
  Packed packed{buffer_of(ops.packed_bytes(type, outputs, inputs)), {}};
  run_all(ops.pack, PackArgs{type, outputs, inputs, blocks.data(), packed.memory.data()}, threads);
  packed.weights = {type, outputs, inputs, packed.memory.data()};
  return packed;
}

// y = x · W^T through the table, quantising where the weights ask for it.
struct LinearCase {
  const float* x = nullptr;
  int64_t rows = 0;
  const float* bias = nullptr;
  const float* residual = nullptr;
  int threads = 1;
  int portions = 1;  // of each thread's share, from last to first
};
std::vector<float> run_linear(const Ops& ops, const PackedWeights& weights, const LinearCase& with);

}  // namespace sluice::kernels
