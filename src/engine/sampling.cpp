#include "engine/sampling.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "core/assert.h"
#include "core/rng.h"

namespace sluice::engine {
namespace {

using kernels::ScoredId;

int64_t count_of(std::span<const float> values) {
  return static_cast<int64_t>(values.size());
}

// The order of a heap whose top is the best candidate.
bool worse(const ScoredId& a, const ScoredId& b) {
  return a.score != b.score ? a.score < b.score : a.id > b.id;
}

// Of candidates in falling order, how many top_p keeps: the fewest that have that share of the sum.
size_t nucleus(std::span<const ScoredId> sorted, double top_p) {
  if (top_p >= 1.0) return sorted.size();
  double sum = 0.0;
  for (const ScoredId& c : sorted) sum += static_cast<double>(c.score);
  double better = 0.0;
  size_t kept = 0;
  while (kept < sorted.size() && better < top_p * sum)
    better += static_cast<double>(sorted[kept++].score);
  return std::max<size_t>(kept, 1);
}

int32_t draw(std::span<const ScoredId> candidates, double unit) {
  double sum = 0.0;
  for (const ScoredId& c : candidates) sum += static_cast<double>(c.score);
  double left = unit * sum;
  for (const ScoredId& c : candidates) {
    left -= static_cast<double>(c.score);
    if (left < 0.0) return c.id;
  }
  return candidates.back().id;  // rounding left something
}

// The k best, with weights relative to the best one's.
int32_t choose_of_best(std::span<const float> logits, const SamplingParams& params, double unit,
                       const kernels::Ops& ops, SamplerScratch* scratch) {
  const auto k = static_cast<size_t>(params.top_k);
  ops.top_k(logits.data(), count_of(logits), params.top_k, scratch->candidates.data());
  const std::span<ScoredId> best(scratch->candidates.data(), k);
  const float top = best.front().score;
  size_t kept = 0;
  for (ScoredId& c : best) {
    c.score = std::exp((c.score - top) / params.temperature);
    if (c.score > 0.0f && c.score >= params.min_p) ++kept;
  }
  const auto candidates = best.first(kept);
  return draw(candidates.first(nucleus(candidates, static_cast<double>(params.top_p))), unit);
}

int32_t choose_of_all(std::span<const float> probabilities, double unit) {
  double sum = 0.0;
  for (const float p : probabilities) sum += static_cast<double>(p);
  double left = unit * sum;
  int32_t last_possible = 0;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    if (probabilities[i] <= 0.0f) continue;
    last_possible = static_cast<int32_t>(i);
    left -= static_cast<double>(probabilities[i]);
    if (left < 0.0) break;
  }
  return last_possible;
}

// min_p and top_p without sorting the vocabulary: tokens that together cannot reach the nucleus are
// dropped, the rest is a heap from which the nucleus is taken.
int32_t choose_of_nucleus(std::span<const float> probabilities, const SamplingParams& params,
                          double unit, SamplerScratch* scratch) {
  const float best = *std::max_element(probabilities.begin(), probabilities.end());
  const float least = params.min_p * best;
  double sum = 0.0;
  for (const float p : probabilities)
    if (p >= least) sum += static_cast<double>(p);
  const double wanted = static_cast<double>(params.top_p) * sum;
  // Tokens below this add up to less than sum − wanted. (Half of it, to be safe from rounding.)
  const double negligible = 0.5 * (sum - wanted) / static_cast<double>(probabilities.size());
  size_t count = 0;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    const float p = probabilities[i];
    if (p < least || static_cast<double>(p) < negligible || p <= 0.0f) continue;
    scratch->candidates[count++] = {static_cast<int32_t>(i), p};
  }
  const auto begin = scratch->candidates.begin();
  auto end = begin + static_cast<int64_t>(count);
  std::make_heap(begin, end, worse);
  // The best go to the back of the array, the very best last.
  double better = 0.0;
  const auto all = end;
  while (end != begin && (params.top_p >= 1.0f || better < wanted || end == all)) {
    better += static_cast<double>(begin->score);
    std::pop_heap(begin, end, worse);
    --end;
  }
  std::reverse(end, all);
  return draw({&*end, static_cast<size_t>(all - end)}, unit);
}

}  // namespace

void TokenHistory::reserve(int64_t tokens_max) {
  entries_.reserve(static_cast<size_t>(tokens_max));
  rehash(std::bit_ceil(static_cast<size_t>(2 * tokens_max + 2)));
}

TokenHistory::Entry& TokenHistory::entry(int32_t token_id) {
  if (2 * (entries_.size() + 1) > slots_.size()) rehash(std::max<size_t>(2 * slots_.size(), 64));
  const size_t mask = slots_.size() - 1;
  size_t s = core::random_bits(0, static_cast<uint64_t>(token_id)) & mask;
  for (; slots_[s] >= 0; s = (s + 1) & mask) {
    Entry& e = entries_[static_cast<size_t>(slots_[s])];
    if (e.token_id == token_id) return e;
  }
  slots_[s] = static_cast<int32_t>(entries_.size());
  return entries_.emplace_back(Entry{.token_id = token_id});
}

void TokenHistory::rehash(size_t slots) {
  slots_.assign(slots, -1);
  for (size_t i = 0; i < entries_.size(); ++i) {
    size_t s = core::random_bits(0, static_cast<uint64_t>(entries_[i].token_id)) & (slots - 1);
    while (slots_[s] >= 0) s = (s + 1) & (slots - 1);
    slots_[s] = static_cast<int32_t>(i);
  }
}

bool needs_history(const SamplingParams& p) {
  return p.repetition_penalty != 1.0f || p.presence_penalty != 0.0f || p.frequency_penalty != 0.0f;
}

SamplerScratch::SamplerScratch(int32_t vocab_tokens)
    : logits(static_cast<size_t>(vocab_tokens)),
      probabilities(static_cast<size_t>(vocab_tokens)),
      candidates(static_cast<size_t>(vocab_tokens)) {}

bool all_finite(std::span<const float> values) {
  // In blocks without a branch inside, so that the compiler uses vectors.
  constexpr size_t kBlock = 64;
  constexpr uint32_t kExponent = 0x7f800000;
  size_t i = 0;
  uint32_t bad = 0;
  for (; i + kBlock <= values.size(); i += kBlock)
    for (size_t j = 0; j < kBlock; ++j)
      bad |= (std::bit_cast<uint32_t>(values[i + j]) & kExponent) == kExponent ? 1u : 0u;
  for (; i < values.size(); ++i) bad |= std::isfinite(values[i]) ? 0u : 1u;
  return bad == 0;
}

float log_probabilities(std::span<const float> logits, int32_t token_id, const kernels::Ops& ops,
                        std::span<TokenLogprob> top, SamplerScratch* scratch) {
  const double total = ops.logsumexp(logits.data(), count_of(logits));
  ops.top_k(logits.data(), count_of(logits), static_cast<int64_t>(top.size()),
            scratch->candidates.data());
  for (size_t i = 0; i < top.size(); ++i) {
    const ScoredId& c = scratch->candidates[i];
    top[i] = {c.id, static_cast<float>(static_cast<double>(c.score) - total)};
  }
  return static_cast<float>(static_cast<double>(logits[static_cast<size_t>(token_id)]) - total);
}

void apply_bias(std::span<const LogitBias> bias, std::span<float> logits) {
  for (const LogitBias& b : bias) logits[static_cast<size_t>(b.token_id)] += b.bias;
}

void apply_mask(std::span<const int32_t> masked_ids, std::span<float> logits) {
  for (const int32_t id : masked_ids)
    logits[static_cast<size_t>(id)] = -std::numeric_limits<float>::infinity();
}

void apply_penalties(const SamplingParams& params, const TokenHistory& history,
                     std::span<float> logits) {
  for (const TokenHistory::Entry& e : history.entries()) {
    float& logit = logits[static_cast<size_t>(e.token_id)];
    logit = logit > 0.0f ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    logit -= params.frequency_penalty * static_cast<float>(e.outputs);
    if (e.outputs > 0) logit -= params.presence_penalty;
  }
}

int32_t choose(std::span<const float> logits, const SamplingParams& params, double unit,
               const kernels::Ops& ops, SamplerScratch* scratch) {
  if (params.temperature < kGreedyTemperature) return ops.argmax(logits.data(), count_of(logits));
  if (params.top_k > 0 && params.top_k < count_of(logits))
    return choose_of_best(logits, params, unit, ops, scratch);
  const std::span<float> probabilities(scratch->probabilities.data(), logits.size());
  ops.softmax(logits.data(), count_of(logits), 1.0f / params.temperature, probabilities.data());
  if (params.top_p >= 1.0f && params.min_p <= 0.0f) return choose_of_all(probabilities, unit);
  return choose_of_nucleus(probabilities, params, unit, scratch);
}

std::optional<SampledToken> sample(const SamplerRow& row, const kernels::Ops& ops,
                                   SamplerScratch* scratch) {
  if (!all_finite(row.logits)) return std::nullopt;
  const SamplingParams& params = *row.params;
  std::span<const float> logits = row.logits;
  if (!params.logit_bias.empty() || !row.masked_ids.empty() || needs_history(params)) {
    const std::span<float> changed(scratch->logits.data(), logits.size());
    std::copy(logits.begin(), logits.end(), changed.begin());
    apply_bias(params.logit_bias, changed);
    apply_mask(row.masked_ids, changed);
    if (needs_history(params)) apply_penalties(params, *row.history, changed);
    logits = changed;
  }
  const double unit = core::random_unit(params.seed, row.position);
  SampledToken sampled{.token_id = choose(logits, params, unit, ops, scratch)};
  if (params.logprobs_top >= 0)
    sampled.logprob = log_probabilities(row.logits, sampled.token_id, ops, row.top, scratch);
  return sampled;
}

}  // namespace sluice::engine
