// What the benchmarks of decoding share: the processor's time, the middle of measured values, and
// the prompt that a file of token ids holds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <fstream>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/clock.h"

namespace sluice {

// Of this process, by all its threads: with one thread, other work beside counts for little.
class ProcessorClock final : public core::Clock {
 public:
  int64_t now_ns() const override {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
  }
  int64_t unix_ns() const override { return core::SystemClock().unix_ns(); }
};

// 0 of none.
inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

// As `sluice tokenize -o json` writes them.
inline std::vector<int32_t> read_ids(const char* path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file).get<std::vector<int32_t>>();
}

}  // namespace sluice
