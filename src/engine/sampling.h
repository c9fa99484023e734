// From a row of logits to a token: pure functions of the row, the request's parameters, its own
// tokens and a position. Order and meaning are vLLM's:
//   log probabilities of the model's own distribution, then logit_bias, the repetition, frequency
//   and presence penalties, masks, and, unless greedy, temperature, min_p, top_k, top_p.
// Equal logits are ordered by rising token id, so that top_k keeps exactly k and top_p the smallest
// set (vLLM keeps all that tie at the edge).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/request.h"
#include "kernels/device_sample_args.h"
#include "kernels/ops.h"

namespace sluice::engine {

using kernels::kGreedyTemperature;

// Which tokens a sequence has, and how often in its output: what the penalties ask.
class TokenHistory {
 public:
  struct Entry {
    int32_t token_id = 0;
    int32_t outputs = 0;  // occurrences in the output; 0: only in the prompt
  };

  // `tokens_max` tokens will not allocate.
  void reserve(int64_t tokens_max);
  void add_prompt(int32_t token_id) { entry(token_id); }
  void add_output(int32_t token_id) { ++entry(token_id).outputs; }
  std::span<const Entry> entries() const { return entries_; }  // each token id once

 private:
  Entry& entry(int32_t token_id);
  void rehash(size_t slots);

  std::vector<Entry> entries_;
  std::vector<int32_t> slots_;  // index into entries_ or −1: open addressing, a power of two
};

bool needs_history(const SamplingParams& params);

// The kernels and the memory of one sampling thread.
struct Sampler {
  Sampler(const kernels::Ops& table, int32_t vocab_tokens);
  const kernels::Ops* ops;
  std::vector<float> logits;                  // (vocab)
  std::vector<float> probabilities;           // (vocab)
  std::vector<kernels::ScoredId> candidates;  // (vocab)
  std::vector<kernels::ScoredId> selection;   // (vocab)
};

struct SamplerRow {
  std::span<const float> logits;  // of the ids that may be sampled
  const SamplingParams* params = nullptr;
  const TokenHistory* history = nullptr;  // where needs_history()
  std::span<const int32_t> masked_ids{};  // cannot be sampled here
  uint64_t position = 0;                  // of the new token in its sequence
  std::span<TokenLogprob> top{};          // filled with the best, best first
};

struct SampledToken {
  int32_t token_id = 0;
  float logprob = 0.0f;  // where params->logprobs_top ≥ 0
};

enum class SampleOutcome : uint8_t {
  kToken,
  kNotFinite,  // the row is not all finite numbers
  kAllMasked,  // no id may be sampled here
  kUnread,     // the row is not part of the text: a draft before it was wrong
};

struct Sample {
  SampleOutcome outcome = SampleOutcome::kNotFinite;
  SampledToken token{};  // of kToken
};

// Whatever the parameters are, a token comes unless the row or the mask forbids it.
Sample sample(const SamplerRow& row, Sampler* sampler);

// A device samples rows without bias, penalties and log probabilities, with few masked ids.
bool device_can_sample(const SamplingParams& params, std::span<const int32_t> masked_ids);
kernels::SampleRow device_sample_row(const SamplingParams& params,
                                     std::span<const int32_t> masked_ids, uint64_t position);
// From the id that it gave.
Sample sample_of(int32_t id);

// The steps of it.

bool all_finite(std::span<const float> values);

// `top` gets the best top.size() tokens; returns the log probability of `token_id`.
float log_probabilities(std::span<const float> logits, int32_t token_id,
                        std::span<TokenLogprob> top, Sampler* sampler);

void apply_bias(std::span<const LogitBias> bias, std::span<float> logits);
void apply_mask(std::span<const int32_t> masked_ids, std::span<float> logits);
void apply_penalties(const SamplingParams& params, const TokenHistory& history,
                     std::span<float> logits);

// The token at `unit` ∈ [0, 1) of the distribution that temperature, min_p, top_k and top_p leave,
// tokens in the order of their ids.
int32_t choose(std::span<const float> logits, const SamplingParams& params, double unit,
               Sampler* sampler);

}  // namespace sluice::engine
