// Inputs for `sluice bench op`: one op at one shape, ready to run on any kernel table.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/thread_pool.h"
#include "kernels/ops.h"

namespace sluice::apps {

struct OpShape {
  core::DType type = core::DType::kQ4_1;  // of weights
  int64_t rows = 1;
  int64_t outputs = 1536;
  int64_t inputs = 576;
  int32_t heads = 9;
  int32_t kv_heads = 3;
  int32_t head_dim = 64;
  int32_t depth = 1024;    // positions in the KV before the rows
  int64_t cold_bytes = 0;  // weights, KV and tables are copied until they are this large
};

enum class OpUnit { kMemory, kInt8, kBf16, kFloat };

// The data lives as long as `run`. `run` may be called any number of times, each on the next copy.
struct OpCase {
  std::string shape;              // "1×576 · 1536×576 Q4_1"
  double bytes = 0;               // that a run must read and write; weights and KV as in their file
  double operations = 0;          // multiplications and additions
  OpUnit unit = OpUnit::kMemory;  // that does the operations
  std::function<void(core::ThreadPool& pool)> run;
  std::function<std::vector<float>()> result;  // of the last run, always of the first copy's values
};

struct OpMaker {
  const char* name;
  const char* help;
  OpCase (*make)(const kernels::Ops& ops, core::ThreadPool& pool, const OpShape& shape);
};
std::span<const OpMaker> op_makers();

}  // namespace sluice::apps
