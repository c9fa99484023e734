// The ops of a mixture of experts: arguments, see ops.h.
#pragma once

#include <cstdint>

namespace sluice::kernels {

inline constexpr int32_t kExpertsMax = 1024;

enum class RouterScores : uint8_t { kSoftmax, kSigmoid };

// Which experts a token goes to, and with what weights (Liu et al. 2024, DeepSeek-V3, §2.1.2).
struct RouterRule {
  RouterScores scores = RouterScores::kSoftmax;
  int32_t groups = 1;       // of as many experts each
  int32_t groups_used = 1;  // those with the largest sum of their best `group_best` scores
  int32_t group_best = 1;
  bool normalized = false;  // weights are divided by their sum
  float scale = 1;          // and multiplied by this
};

// Row-wise. Experts are chosen by score + bias, best first, the smaller id of equals; their weights
// are the scores without it. Those with a slot are chosen as if their score were (1 + preference)
// times what it is.
struct RouteArgs {
  RouterRule rule;
  const float* logits = nullptr;   // (rows, experts)
  const float* bias = nullptr;     // (experts) or null
  const int32_t* slots = nullptr;  // (experts), -1: none; or null
  float preference = 0;
  int64_t rows = 0;
  int32_t experts = 0;
  int32_t used = 0;
  int32_t* ids = nullptr;    // (rows, used)
  float* weights = nullptr;  // (rows, used)
};

// out[r] += Σ_i weights[r, i] · x[places[r, i]], summed in the order of i; places of -1
// add nothing.
struct WeightedSumArgs {
  const float* x = nullptr;         // (any, columns)
  const int32_t* places = nullptr;  // (rows, used)
  const float* weights = nullptr;   // (rows, used)
  int64_t rows = 0;
  int32_t used = 0;
  int64_t columns = 0;
  float* out = nullptr;  // (rows, columns)
};

}  // namespace sluice::kernels
