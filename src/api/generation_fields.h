// The fields that chat and text completions share: how to sample, when to stop, what to report.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/error.h"
#include "api/gateway_fields.h"
#include "api/json.h"

namespace sluice::api {

// Over a limit: 400 that names field and limit. The numbers are options of `sluice serve`.
struct RequestLimits {
  int64_t messages_max = 4096;
  int64_t prompts_max = 128;  // of one completions request
  int64_t n_max = 16;
  int64_t choices_max = 256;  // prompts · n
  int64_t stops_max = 16;
  int64_t stop_bytes_max = 1024;
  int64_t stop_token_ids_max = 64;
  int64_t logit_biases_max = 1024;
  int64_t top_logprobs_max = 20;
};

// Defaults are OpenAI's and vLLM's: sampling from the whole distribution at temperature 1.
struct SamplingFields {
  double temperature = 1.0;                           // 0 … 2; 0 is greedy
  double top_p = 1.0;                                 // (0, 1]
  int64_t top_k = 0;                                  // 0 and -1: all
  double min_p = 0.0;                                 // 0 … 1
  double repetition_penalty = 1;                      // (0, 100]
  double presence_penalty = 0;                        // -2 … 2
  double frequency_penalty = 0;                       // -2 … 2
  std::vector<std::pair<int32_t, float>> logit_bias;  // token id, -100 … 100
  std::optional<int64_t> seed;
};

struct StopFields {
  std::vector<std::string> stop;  // texts
  std::vector<int32_t> stop_token_ids;
  std::optional<int64_t> max_tokens;
  int64_t min_tokens = 0;
  bool ignore_eos = false;
  bool include_stop_text = false;  // include_stop_str_in_output
};

struct StreamFields {
  bool stream = false;
  bool include_usage = false;           // one more chunk with the usage, at the end
  bool continuous_usage_stats = false;  // vLLM: usage in every chunk
};

struct GenerationFields {
  std::string model;  // empty: the server's
  SamplingFields sampling;
  StopFields stopping;
  StreamFields streaming;
  int64_t n = 1;
  bool skip_special_tokens = true;
  std::string cache_salt;  // a prefix is shared only by requests with the same salt
  std::optional<GatewayFields> gateway;
};

Parsed<GenerationFields> parse_generation_fields(const Json& body, const RequestLimits& limits);

}  // namespace sluice::api
