// The nouns between the server and the engine: a request in, events out.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace sluice::engine {

// Chosen by whoever submits; unique among the live requests.
struct RequestId {
  uint64_t value = 0;
  auto operator<=>(const RequestId&) const = default;
};

struct LogitBias {
  int32_t token_id = 0;
  float bias = 0.0f;  // added to the logit
};

// What vLLM's SamplingParams mean, in its order: bias and masks, penalties, temperature, min_p,
// top_k, top_p (engine/sampling.h). Values are in range: the server has checked them.
struct SamplingParams {
  float temperature = 1.0f;               // 0 (below 1e-5): the best token
  float top_p = 1.0f;                     // [0, 1]; 1 = off, 0 = the best token
  int32_t top_k = 0;                      // 0 = off
  float min_p = 0.0f;                     // [0, 1]; 0 = off
  float repetition_penalty = 1.0f;        // > 0; of the tokens in the prompt and the output
  float presence_penalty = 0.0f;          // of the tokens in the output, once
  float frequency_penalty = 0.0f;         // of the tokens in the output, for each occurrence
  std::vector<LogitBias> logit_bias{};    // each token id at most once
  uint64_t seed = 0;                      // the random number of a position is a function of this
  std::vector<int32_t> stop_token_ids{};  // beside the model's own end tokens
  int64_t max_tokens = std::numeric_limits<int64_t>::max();  // 0: only the prompt is computed
  // Before that many, end tokens cannot be sampled; where every id is one, the request ends
  // (kStop).
  int64_t min_tokens = 0;

  enum class EndTokens : uint8_t { kStop, kNever };  // kNever (ignore_eos): they are masked
  EndTokens end_tokens = EndTokens::kStop;

  int32_t logprobs_top = -1;  // −1 none; 0 the sampled token's only; n also the n best (limited)
};

// What a request should reach; 0: nothing is asked for. Whether it did is counted. A TPOT of a
// running request bounds what a step prefills beside it.
struct Target {
  int64_t ttft_ns = 0;
  int64_t tpot_ns = 0;
  int64_t total_ns = 0;
};

inline constexpr int32_t kPriorityMax = 1000;

// One continuation of one prompt. `n` continuations are n requests, submitted together: the engine
// computes a prefix that several live requests share once.
struct Request {
  RequestId id{};
  std::vector<int32_t> prompt_ids{};  // at least one
  // Of prompt_ids, at the end: output of this request that another engine has made. The request
  // goes on behind it as if it had been made here: positions, penalties, max_tokens, usage.
  int64_t resumed_tokens = 0;
  SamplingParams sampling{};
  uint64_t cache_salt = 0;  // a prefix is shared only by requests with the same salt
  // ± kPriorityMax; the higher goes first, equal ones by arrival. When pages run out the lowest
  // gives its own up.
  int32_t priority = 0;
  int64_t deadline_ns = 0;  // of the engine's clock: not started by then, it ends; 0: none
  Target target{};
  // ≥ 0: a PromptTokenEvent for each prompt id with that many best alternatives. Such a request
  // computes all of its prompt: it does not use a cached prefix (but leaves one).
  int32_t prompt_logprobs_top = -1;
};

enum class Admission : uint8_t {
  kAccepted,
  kQueueFull,  // sequences_max + queue_max requests are live
  kTooLong,    // no room in the context for the prompt and one more token
  kBadPrompt,  // empty, or an id outside the vocabulary
  kDraining,
};

// Natural logarithm of a probability under the model's own distribution: before bias, penalties
// and temperature.
struct TokenLogprob {
  int32_t token_id = 0;
  float logprob = 0.0f;
};

struct PromptTokenEvent {
  RequestId id{};
  int64_t position = 0;  // in the prompt; the events come in order
  int32_t token_id = 0;
  float logprob = 0.0f;                 // NaN for position 0, which nothing predicts
  std::span<const TokenLogprob> top{};  // best first; empty for position 0
};

enum class TokenKind : uint8_t {
  kText,
  kEnd,  // an end token or one of stop_token_ids: counted in the usage, no part of the text
};

struct TokenEvent {
  RequestId id{};
  int32_t token_id = 0;
  TokenKind kind = TokenKind::kText;
  float logprob = 0.0f;                 // set if logprobs_top ≥ 0
  std::span<const TokenLogprob> top{};  // best first, logprobs_top of them
};

enum class FinishReason : uint8_t {
  kStop,       // an end token, one of stop_token_ids, finish_early(), or no id may follow
  kLength,     // max_tokens, or the context is full
  kCancelled,  // cancel(), or the engine was stopped
  kError,      // the model gave logits that are not finite
  kDeadline,   // it passed while the request waited
};
inline constexpr int kFinishReasons = 5;

struct FinishEvent {
  RequestId id{};
  FinishReason reason = FinishReason::kStop;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;      // of the prompt, found in the prefix cache at the first start
  int64_t completion_tokens = 0;  // TokenEvents emitted, and resumed_tokens
  int64_t queue_ns = 0;           // from submit() to the first step that it is part of
  int64_t prefill_ns = 0;         // from there to its first token
  int64_t decode_ns = 0;          // from there to the end
  int64_t preemptions = 0;
  int64_t accepted_draft_tokens = 0;  // of completion_tokens: verified together with others
  int64_t rejected_draft_tokens = 0;
};

// What one step brought. The spans are valid during the call only. Of one request: prompt tokens
// before tokens before its end; nothing comes after its FinishEvent, which comes exactly once.
struct StepEvents {
  std::span<const PromptTokenEvent> prompt_tokens;
  std::span<const TokenEvent> tokens;
  std::span<const FinishEvent> finished;
};

}  // namespace sluice::engine
