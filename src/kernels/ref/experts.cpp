// Which experts a token goes to, and the sum of what they gave.
#include <algorithm>
#include <array>
#include <bitset>
#include <cmath>
#include <limits>

#include "core/assert.h"
#include "core/thread_pool.h"
#include "kernels/ref/ref.h"

namespace sluice::kernels::ref {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

struct Scores {
  std::array<float, kExpertsMax> plain;
  std::array<float, kExpertsMax> biased;  // what the choice is by

  static float favour(const RouteArgs& args, size_t expert) {
    return args.slots != nullptr && args.slots[expert] >= 0 ? 1 + args.preference : 1;
  }
  void compute(const RouteArgs& args, int64_t row) {
    const float* logits = args.logits + row * args.experts;
    const auto count = static_cast<size_t>(args.experts);
    const float largest = *std::max_element(logits, logits + count);
    double sum = 0;
    for (size_t e = 0; e < count; ++e) {
      const bool sigmoid = args.rule.scores == RouterScores::kSigmoid;
      plain[e] = sigmoid ? 1 / (1 + std::exp(-logits[e])) : std::exp(logits[e] - largest);
      sum += double{plain[e]};
    }
    if (args.rule.scores == RouterScores::kSoftmax)
      for (size_t e = 0; e < count; ++e) plain[e] = static_cast<float>(double{plain[e]} / sum);
    for (size_t e = 0; e < count; ++e)
      biased[e] = plain[e] * favour(args, e) + (args.bias == nullptr ? 0 : args.bias[e]);
  }
};

// The sum of a group's best scores.
float group_score(const float* scores, int32_t count, int32_t best) {
  if (best == 1) return *std::max_element(scores, scores + count);
  float first = kNever, second = kNever;
  for (int32_t e = 0; e < count; ++e) {
    if (scores[e] > first) {
      second = first;
      first = scores[e];
    } else {
      second = std::max(second, scores[e]);
    }
  }
  return first + second;
}

// The best groups stay; the scores of the others become kNever.
void keep_groups(const RouteArgs& args, float* scores) {
  const int32_t in_group = args.experts / args.rule.groups;
  std::array<float, kExpertsMax> of_group;
  const auto groups = static_cast<size_t>(args.rule.groups);
  for (size_t g = 0; g < groups; ++g)
    of_group[g] =
        group_score(scores + g * static_cast<size_t>(in_group), in_group, args.rule.group_best);
  for (int32_t dropped = 0; dropped < args.rule.groups - args.rule.groups_used; ++dropped) {
    size_t worst = groups;  // the last of equals goes first
    for (size_t g = 0; g < groups; ++g)
      if (of_group[g] != kNever && (worst == groups || of_group[g] <= of_group[worst])) worst = g;
    if (worst == groups) return;
    of_group[worst] = kNever;
    std::fill_n(scores + worst * static_cast<size_t>(in_group), in_group, kNever);
  }
}

size_t best_left(const std::array<float, kExpertsMax>& scores,
                 const std::bitset<kExpertsMax>& taken, size_t count) {
  size_t best = count;
  for (size_t e = 0; e < count; ++e)
    if (!taken[e] && (best == count || scores[e] > scores[best])) best = e;
  return best;
}

void route_row(const RouteArgs& args, int64_t row) {
  Scores scores;
  scores.compute(args, row);
  if (args.rule.groups_used < args.rule.groups) keep_groups(args, scores.biased.data());
  int32_t* ids = args.ids + row * args.used;
  float* weights = args.weights + row * args.used;
  std::bitset<kExpertsMax> taken;
  double sum = 0;
  for (int32_t i = 0; i < args.used; ++i) {
    const size_t best = best_left(scores.biased, taken, static_cast<size_t>(args.experts));
    taken.set(best);
    ids[i] = static_cast<int32_t>(best);
    weights[i] = scores.plain[best];
    sum += double{weights[i]};
  }
  for (int32_t i = 0; i < args.used; ++i) {
    const double weight = args.rule.normalized ? double{weights[i]} / (sum + 1e-20) : weights[i];
    weights[i] = static_cast<float>(weight * double{args.rule.scale});
  }
}

}  // namespace

void route(const RouteArgs& args, int thread, int threads) {
  const core::Range rows = core::split(args.rows, 1, thread, threads);
  for (int64_t row = rows.begin; row < rows.end; ++row) route_row(args, row);
}

void weighted_sum(const WeightedSumArgs& args, int thread, int threads) {
  constexpr int64_t kUnit = 64;
  const core::Range values = core::split(args.rows * args.columns, kUnit, thread, threads);
  for (int64_t at = values.begin; at < values.end;) {
    const int64_t row = at / args.columns, column = at % args.columns;
    const int64_t count = std::min(args.columns - column, values.end - at);
    for (int32_t i = 0; i < args.used; ++i) {
      const int64_t place = args.places[row * args.used + i];
      if (place < 0) continue;
      const float weight = args.weights[row * args.used + i];
      const float* x = args.x + place * args.columns + column;
      for (int64_t c = 0; c < count; ++c) args.out[at + c] += weight * x[c];
    }
    at += count;
  }
}

}  // namespace sluice::kernels::ref
