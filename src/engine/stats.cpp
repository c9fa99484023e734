#include "engine/stats.h"

#include <algorithm>

#include "core/assert.h"

namespace sluice::engine {
namespace {

constexpr double kFirstTokenS[] = {0.001, 0.005, 0.01, 0.02,  0.04,  0.06,  0.08, 0.1,
                                   0.25,  0.5,   0.75, 1.0,   2.5,   5.0,   7.5,  10.0,
                                   20.0,  40.0,  80.0, 160.0, 640.0, 2560.0};
constexpr double kInterTokenS[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
                                   0.15,  0.2,    0.3,   0.4,  0.5,   0.75, 1.0,   2.5,
                                   5.0,   7.5,    10.0,  20.0, 40.0,  80.0};
constexpr double kRequestS[] = {0.1,   0.3,   0.5,   0.8,   1.0,    1.5,   2.0,  2.5,
                                5.0,   10.0,  15.0,  20.0,  30.0,   40.0,  50.0, 60.0,
                                120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};
constexpr double kRequestTokens[] = {1,    2,    5,    10,    20,    50,    100,    200,   500,
                                     1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};
constexpr double kStepTokens[] = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};

}  // namespace

void Histogram::add(double value) {
  ASSERT(bounds_.size() <= kBoundsMax, "{} bounds", bounds_.size());
  const auto place = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  ++counts_[static_cast<size_t>(place)];
  ++count_;
  sum_ += value;
}

EngineStats::EngineStats()
    : time_to_first_token_s(kFirstTokenS),
      inter_token_s(kInterTokenS),
      time_per_output_token_s(kInterTokenS),
      e2e_s(kRequestS),
      queue_s(kRequestS),
      prefill_s(kRequestS),
      decode_s(kRequestS),
      inference_s(kRequestS),
      request_prompt_tokens(kRequestTokens),
      request_generation_tokens(kRequestTokens),
      request_max_tokens(kRequestTokens),
      iteration_tokens(kStepTokens) {}

}  // namespace sluice::engine
