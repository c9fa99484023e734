// What this machine can do at most: the roof beside every measured speed.
#pragma once

#include <string_view>
#include <vector>

#include "core/thread_pool.h"

namespace sluice::kernels {

// All threads of the pool together, with the units that one kernel table computes with.
struct Roof {
  double read_gb_s = 0;    // memory read, 10^9 bytes per second
  double int8_tops = 0;    // int8 dot products, 10^12 multiplications and additions per second
  double f32_tflops = 0;   // f32 fused multiply-add
  double bf16_tflops = 0;  // bf16 dot products; where the table has none, f32
};

// `table` is the name of one of all_ops() that this processor can run; "ref", which is no measure
// of a machine, has the units of the best. Each number is the best of a few passes; about two
// seconds in all, and 1 GiB of memory while it runs.
Roof measure_roof(core::ThreadPool& pool, std::string_view table);

// Memory read by all threads, GB/s: read_gb_s of measure_roof() alone.
double measure_read(core::ThreadPool& pool);

// Memory read by the first `threads` threads of the pool, GB/s, for 1 … pool.threads().
std::vector<double> measure_read_by_threads(core::ThreadPool& pool);

}  // namespace sluice::kernels
