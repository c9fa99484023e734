#include "kernels/probe.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "core/buffer.h"
#include "core/clock.h"
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/avx2/avx2.h"
#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512_bf16/probe.h"
#include "kernels/cpu/avx_vnni/avx_vnni.h"
#include "kernels/registry.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kReadBytes = int64_t{1} << 30;
constexpr int64_t kChunkBytes = int64_t{4} << 20;
constexpr int64_t kTurnBytes = int64_t{1} << 20;
constexpr int kPasses = 5;
constexpr int64_t kRounds = 2'000'000;

// A probe measures the machine, so the real clock is what it is about.
double seconds_of(const auto& work) {
  const core::SystemClock clock;
  const int64_t start_ns = clock.now_ns();
  work();
  return static_cast<double>(clock.now_ns() - start_ns) * 1e-9;
}

// For machines without AVX2.
int64_t plain_read(const std::byte* data, int64_t bytes) {
  uint64_t sum = 0;
  for (int64_t i = 0; i + 8 <= bytes; i += 8) {
    uint64_t word;
    std::memcpy(&word, data + i, 8);
    sum += word;
  }
  return static_cast<int64_t>(sum);
}
int64_t plain_multiply(int64_t rounds, int32_t* sink) {
  float sums[4] = {1, 2, 3, 4};
  for (int64_t i = 0; i < rounds; ++i)
    for (float& sum : sums) sum = sum * 0.25f + 1.0f;
  *sink += static_cast<int32_t>(sums[0] + sums[1] + sums[2] + sums[3]);
  return rounds * 4 * 2;
}

struct Probes {
  std::string_view table;
  int64_t (*read)(const std::byte* data, int64_t bytes);
  int64_t (*int8)(int64_t rounds, int32_t* sink);
  int64_t (*f32)(int64_t rounds, int32_t* sink);
  int64_t (*bf16)(int64_t rounds, int32_t* sink);
};
constexpr Probes kProbes[] = {
    {"amx", avx512::probe_read, amx::probe_int8, avx512::probe_f32, amx::probe_bf16},
    {"avx512_bf16", avx512::probe_read, avx512::probe_int8, avx512::probe_f32,
     avx512_bf16::probe_bf16},
    {"avx512_vnni", avx512::probe_read, avx512::probe_int8, avx512::probe_f32, avx512::probe_f32},
    {"avx_vnni", avx2::probe_read, avx_vnni::probe_int8, avx2::probe_f32, avx2::probe_f32},
    {"avx2", avx2::probe_read, avx2::probe_int8, avx2::probe_f32, avx2::probe_f32},
    {"ref", plain_read, plain_multiply, plain_multiply, plain_multiply},
};

const Probes& probes_of(std::string_view table) {
  const auto named = [](std::string_view name) {
    return std::find_if(std::begin(kProbes), std::end(kProbes),
                        [&](const Probes& probes) { return probes.table == name; });
  };
  const Probes* found = named(table == reference_ops().name ? best_ops().name : table);
  return found != std::end(kProbes) ? *found : *named(reference_ops().name);
}

core::Buffer touched_memory(core::ThreadPool& pool) {
  core::Buffer memory(kReadBytes);
  pool.run([&](int thread, int threads) {
    const core::Range bytes = core::split(kReadBytes, kChunkBytes, thread, threads);
    for (int64_t i = bytes.begin; i < bytes.end; i += 4096)
      memory.data()[i] = static_cast<std::byte>(i >> 12);
  });
  return memory;
}

// Threads take turns: with a share for each the slowest core would be measured, and on a machine
// that others share one of 16 is slow for a moment (94 to 138 GB/s; by turns 134 to 145).
double read_gb_s(core::ThreadPool& pool, const core::Buffer& memory, int threads) {
  const auto read = probes_of(best_ops().name).read;
  std::atomic<int64_t> sum{0};
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    std::atomic<int64_t> next{0};
    const double seconds = seconds_of([&] {
      pool.run([&](int thread, int) {
        if (thread >= threads) return;
        for (int64_t at = next.fetch_add(kTurnBytes); at < kReadBytes;
             at = next.fetch_add(kTurnBytes))
          sum += read(memory.data() + at, kTurnBytes);
      });
    });
    best = std::max(best, static_cast<double>(kReadBytes) / seconds * 1e-9);
  }
  return best;
}

// 10^12 operations per second of all threads.
double tera_ops(core::ThreadPool& pool, int64_t (*probe)(int64_t, int32_t*)) {
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    std::atomic<int64_t> operations{0};
    const double seconds = seconds_of([&] {
      pool.run([&](int thread, int) {
        int32_t sink = thread;
        operations += probe(kRounds, &sink);
      });
    });
    best = std::max(best, static_cast<double>(operations.load()) / seconds * 1e-12);
  }
  return best;
}

}  // namespace

Roof measure_roof(core::ThreadPool& pool, std::string_view table) {
  const Probes& probes = probes_of(table);
  Roof roof;
  roof.read_gb_s = measure_read(pool);
  roof.int8_tops = tera_ops(pool, probes.int8);
  roof.f32_tflops = tera_ops(pool, probes.f32);
  roof.bf16_tflops = tera_ops(pool, probes.bf16);
  return roof;
}

double measure_read(core::ThreadPool& pool) {
  return read_gb_s(pool, touched_memory(pool), pool.threads());
}

std::vector<double> measure_read_by_threads(core::ThreadPool& pool) {
  const core::Buffer memory = touched_memory(pool);
  std::vector<double> speeds;
  for (int threads = 1; threads <= pool.threads(); ++threads)
    speeds.push_back(read_gb_s(pool, memory, threads));
  return speeds;
}

}  // namespace sluice::kernels
