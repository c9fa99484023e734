#include "engine/sampling.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/assert.h"
#include "core/rng.h"

namespace sluice::engine {
namespace {

using kernels::ScoredId;

constexpr float kLeastProbability = std::numeric_limits<float>::min();
// Extreme parameters stop here: an infinite logit would make every other one no number.
constexpr float kLargestLogit = 1e30f;

float bounded(float logit) {
  return std::clamp(logit, -kLargestLogit, kLargestLogit);
}

int64_t count_of(std::span<const float> values) {
  return static_cast<int64_t>(values.size());
}

// The order in which top_k and top_p keep tokens.
bool better(const ScoredId& a, const ScoredId& b) {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

double sum_of(std::span<const ScoredId> candidates) {
  double sum = 0.0;
  for (const ScoredId& c : candidates) sum += static_cast<double>(c.score);
  return sum;
}

// Of candidates in falling order, how many top_p keeps: the fewest that reach `wanted`.
size_t nucleus(std::span<const ScoredId> sorted, double wanted) {
  double sum = 0.0;
  size_t kept = 0;
  while (kept < sorted.size() && (kept == 0 || sum < wanted))
    sum += static_cast<double>(sorted[kept++].score);
  return kept;
}

// The last candidate that top_p keeps, by selection; changes the order of the candidates.
ScoredId nucleus_edge(std::span<ScoredId> candidates, double wanted) {
  constexpr size_t kSortMax = 32;
  ASSERT(!candidates.empty(), "no token is likely");
  while (candidates.size() > kSortMax) {
    const size_t n = candidates.size();
    std::array<ScoredId, 3> probes = {candidates[0], candidates[n / 2], candidates[n - 1]};
    std::sort(probes.begin(), probes.end(), better);
    const auto middle = std::partition(candidates.begin(), candidates.end(),
                                       [&](const ScoredId& c) { return !better(probes[1], c); });
    const auto upper = candidates.first(static_cast<size_t>(middle - candidates.begin()));
    const double sum = sum_of(upper);
    if (sum >= wanted) {
      candidates = upper;
    } else {
      wanted -= sum;
      candidates = candidates.subspan(upper.size());
    }
  }
  std::sort(candidates.begin(), candidates.end(), better);
  return candidates[nucleus(candidates, wanted) - 1];
}

// Candidates in the order of their ids.
int32_t draw(std::span<const ScoredId> candidates, double unit) {
  ASSERT(!candidates.empty(), "no token is left");
  double left = unit * sum_of(candidates);
  for (const ScoredId& c : candidates) {
    left -= static_cast<double>(c.score);
    if (left < 0.0) return c.id;
  }
  return candidates.back().id;  // rounding left something
}

// The tokens of at least probability `least` > 0, in the order of their ids.
std::span<ScoredId> collect(std::span<const float> probabilities, float least, Sampler* sampler) {
  constexpr size_t kBlock = 32;
  size_t count = 0;
  for (size_t begin = 0; begin < probabilities.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, probabilities.size());
    // Most blocks have none: looked at as a whole, with vectors.
    uint32_t any = end - begin < kBlock ? 1 : 0;
    if (any == 0)
      for (size_t i = 0; i < kBlock; ++i) any |= probabilities[begin + i] >= least ? 1u : 0u;
    if (any == 0) continue;
    for (size_t i = begin; i < end; ++i)
      if (probabilities[i] >= least)
        sampler->candidates[count++] = {static_cast<int32_t>(i), probabilities[i]};
  }
  return {sampler->candidates.data(), count};
}

// top_k, then min_p, then top_p; weights are relative to the best one's.
int32_t choose_of_best(std::span<const float> logits, const SamplingParams& params, double unit,
                       Sampler* sampler) {
  sampler->ops->top_k(logits.data(), count_of(logits), params.top_k, sampler->candidates.data());
  std::span<ScoredId> kept(sampler->candidates.data(), static_cast<size_t>(params.top_k));
  const float top = kept.front().score;
  for (ScoredId& c : kept) c.score = std::exp((c.score - top) / params.temperature);
  const auto is_kept = [&](const ScoredId& c) { return c.score > 0.0f && c.score >= params.min_p; };
  kept = kept.first(static_cast<size_t>(std::count_if(kept.begin(), kept.end(), is_kept)));
  if (params.top_p < 1.0f)
    kept = kept.first(nucleus(kept, static_cast<double>(params.top_p) * sum_of(kept)));
  std::sort(kept.begin(), kept.end(),
            [](const ScoredId& a, const ScoredId& b) { return a.id < b.id; });
  return draw(kept, unit);
}

// Nothing is cut off.
int32_t choose_of_all(std::span<const float> probabilities, double unit) {
  constexpr size_t kBlock = 1024;
  constexpr size_t kLanes = 8;
  const auto sum_block = [&](size_t begin) {
    const auto block = probabilities.subspan(begin, std::min(kBlock, probabilities.size() - begin));
    std::array<double, kLanes> lanes{};
    size_t i = 0;
    for (; i + kLanes <= block.size(); i += kLanes)
      for (size_t l = 0; l < kLanes; ++l) lanes[l] += static_cast<double>(block[i + l]);
    for (; i < block.size(); ++i) lanes[0] += static_cast<double>(block[i]);
    return std::accumulate(lanes.begin(), lanes.end(), 0.0);
  };
  double sum = 0.0;
  for (size_t b = 0; b < probabilities.size(); b += kBlock) sum += sum_block(b);
  double left = unit * sum;
  size_t begin = 0;
  for (; begin + kBlock < probabilities.size(); begin += kBlock) {
    const double block = sum_block(begin);
    if (left < block) break;
    left -= block;
  }
  int32_t last_possible = 0;
  for (size_t i = begin; i < probabilities.size(); ++i) {
    if (probabilities[i] <= 0.0f) continue;
    last_possible = static_cast<int32_t>(i);
    left -= static_cast<double>(probabilities[i]);
    if (left < 0.0) break;
  }
  return last_possible;
}

// The candidates that top_p keeps, in the order of their ids.
std::span<ScoredId> keep_nucleus(std::span<ScoredId> candidates, double wanted, Sampler* sampler) {
  const std::span<ScoredId> selection(sampler->selection.data(), candidates.size());
  std::copy(candidates.begin(), candidates.end(), selection.begin());
  const ScoredId edge = nucleus_edge(selection, wanted);
  const auto end = std::remove_if(candidates.begin(), candidates.end(),
                                  [&](const ScoredId& c) { return better(edge, c); });
  return candidates.first(static_cast<size_t>(end - candidates.begin()));
}

// min_p, then top_p, without sorting the vocabulary.
int32_t choose_of_likely(std::span<const float> probabilities, const SamplingParams& params,
                         double unit, Sampler* sampler) {
  const auto top_p = static_cast<double>(params.top_p);  // 0 keeps the best token
  std::span<ScoredId> candidates;
  if (params.min_p > 0.0f) {
    const auto best = sampler->ops->argmax(probabilities.data(), count_of(probabilities));
    const float least = params.min_p * probabilities[static_cast<size_t>(best)];
    candidates = collect(probabilities, std::max(least, kLeastProbability), sampler);
    if (params.top_p < 1.0f)
      candidates = keep_nucleus(candidates, top_p * sum_of(candidates), sampler);
    return draw(candidates, unit);
  }
  // Probabilities add up to 1: tokens above a threshold that add up to top_p hold the nucleus. A
  // first threshold of 1/1024 leaves few.
  for (float threshold = 1.0f / 1024;; threshold /= 64) {
    candidates = collect(probabilities, std::max(threshold, kLeastProbability), sampler);
    const bool holds_nucleus = !candidates.empty() && sum_of(candidates) >= top_p;
    if (holds_nucleus || threshold <= kLeastProbability) break;
  }
  return draw(keep_nucleus(candidates, top_p, sampler), unit);
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

Sampler::Sampler(const kernels::Ops& table, int32_t vocab_tokens)
    : ops(&table),
      logits(static_cast<size_t>(vocab_tokens)),
      probabilities(static_cast<size_t>(vocab_tokens)),
      candidates(static_cast<size_t>(vocab_tokens)),
      selection(static_cast<size_t>(vocab_tokens)) {}

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

float log_probabilities(std::span<const float> logits, int32_t token_id,
                        std::span<TokenLogprob> top, Sampler* sampler) {
  const double total = sampler->ops->logsumexp(logits.data(), count_of(logits));
  sampler->ops->top_k(logits.data(), count_of(logits), static_cast<int64_t>(top.size()),
                      sampler->candidates.data());
  for (size_t i = 0; i < top.size(); ++i) {
    const ScoredId& c = sampler->candidates[i];
    top[i] = {c.id, static_cast<float>(static_cast<double>(c.score) - total)};
  }
  return static_cast<float>(static_cast<double>(logits[static_cast<size_t>(token_id)]) - total);
}

void apply_bias(std::span<const LogitBias> bias, std::span<float> logits) {
  for (const LogitBias& b : bias) {
    float& logit = logits[static_cast<size_t>(b.token_id)];
    logit = bounded(logit + b.bias);
  }
}

void apply_mask(std::span<const int32_t> masked_ids, std::span<float> logits) {
  for (const int32_t id : masked_ids)
    logits[static_cast<size_t>(id)] = -std::numeric_limits<float>::infinity();
}

void apply_penalties(const SamplingParams& params, const TokenHistory& history,
                     std::span<float> logits) {
  for (const TokenHistory::Entry& e : history.entries()) {
    float& logit = logits[static_cast<size_t>(e.token_id)];
    const float repetition = params.repetition_penalty;
    logit = bounded(logit > 0.0f ? logit / repetition : logit * repetition);
    logit = bounded(logit - params.frequency_penalty * static_cast<float>(e.outputs));
    if (e.outputs > 0) logit = bounded(logit - params.presence_penalty);
  }
}

int32_t choose(std::span<const float> logits, const SamplingParams& params, double unit,
               Sampler* sampler) {
  if (params.temperature < kGreedyTemperature)
    return sampler->ops->argmax(logits.data(), count_of(logits));
  if (params.top_k > 0 && params.top_k < count_of(logits))
    return choose_of_best(logits, params, unit, sampler);
  const std::span<float> probabilities(sampler->probabilities.data(), logits.size());
  sampler->ops->softmax(logits.data(), count_of(logits), 1.0f / params.temperature,
                        probabilities.data());
  if (params.top_p >= 1.0f && params.min_p <= 0.0f) return choose_of_all(probabilities, unit);
  return choose_of_likely(probabilities, params, unit, sampler);
}

Sample sample(const SamplerRow& row, Sampler* sampler) {
  if (!all_finite(row.logits)) return {.outcome = SampleOutcome::kNotFinite};
  const SamplingParams& params = *row.params;
  std::span<const float> logits = row.logits;
  if (!params.logit_bias.empty() || !row.masked_ids.empty() || needs_history(params)) {
    const std::span<float> changed(sampler->logits.data(), logits.size());
    std::copy(logits.begin(), logits.end(), changed.begin());
    apply_bias(params.logit_bias, changed);
    if (needs_history(params)) apply_penalties(params, *row.history, changed);
    apply_mask(row.masked_ids, changed);
    if (std::none_of(changed.begin(), changed.end(), [](float l) { return std::isfinite(l); }))
      return {.outcome = SampleOutcome::kAllMasked};
    logits = changed;
  }
  const double unit = core::random_unit(params.seed, row.position);
  SampledToken sampled{.token_id = choose(logits, params, unit, sampler)};
  if (params.logprobs_top >= 0)
    sampled.logprob = log_probabilities(row.logits, sampled.token_id, row.top, sampler);
  return {SampleOutcome::kToken, sampled};
}

bool device_can_sample(const SamplingParams& params, std::span<const int32_t> masked_ids) {
  return params.logprobs_top < 0 && params.logit_bias.empty() && !needs_history(params) &&
         masked_ids.size() <= kernels::SampleRow::kMaskedMax;
}

kernels::SampleRow device_sample_row(const SamplingParams& params,
                                     std::span<const int32_t> masked_ids, uint64_t position) {
  kernels::SampleRow row{.unit = core::random_unit(params.seed, position),
                         .temperature = params.temperature,
                         .top_p = params.top_p,
                         .min_p = params.min_p,
                         .top_k = params.top_k,
                         .masked_count = static_cast<int32_t>(masked_ids.size())};
  std::copy(masked_ids.begin(), masked_ids.end(), row.masked_ids);
  return row;
}

Sample sample_of(int32_t id) {
  if (id == kernels::kRowNotFinite) return {.outcome = SampleOutcome::kNotFinite};
  if (id == kernels::kRowAllMasked) return {.outcome = SampleOutcome::kAllMasked};
  return {SampleOutcome::kToken, {.token_id = id}};
}

}  // namespace sluice::engine
