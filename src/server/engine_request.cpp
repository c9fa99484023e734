#include "server/engine_request.h"

#include <algorithm>

#include "contract/block_hash.h"
#include "core/rng.h"

namespace sluice::server {
namespace {

engine::SamplingParams to_sampling(const EngineRequestInput& input) {
  const api::SamplingFields& sampling = input.fields.sampling;
  const api::StopFields& stopping = input.fields.stopping;
  engine::SamplingParams params;
  params.temperature = static_cast<float>(sampling.temperature);
  params.top_p = static_cast<float>(sampling.top_p);
  params.top_k = static_cast<int32_t>(sampling.top_k);
  params.min_p = static_cast<float>(sampling.min_p);
  params.repetition_penalty = static_cast<float>(sampling.repetition_penalty);
  params.presence_penalty = static_cast<float>(sampling.presence_penalty);
  params.frequency_penalty = static_cast<float>(sampling.frequency_penalty);
  for (const auto& [id, bias] : sampling.logit_bias)
    params.logit_bias.push_back({.token_id = id, .bias = bias});
  params.stop_token_ids = stopping.stop_token_ids;
  params.max_tokens = input.max_tokens;
  params.min_tokens = stopping.min_tokens;
  params.end_tokens = stopping.ignore_eos ? engine::SamplingParams::EndTokens::kNever
                                          : engine::SamplingParams::EndTokens::kStop;
  params.logprobs_top = input.logprobs_top;
  return params;
}

static_assert(api::kPriorityMax == engine::kPriorityMax);

void add_gateway_fields(const api::GatewayFields& gateway, int64_t arrived_ns,
                        engine::Request* request) {
  request->prompt_ids.insert(request->prompt_ids.end(), gateway.resume_ids.begin(),
                             gateway.resume_ids.end());
  request->resumed_tokens = std::ssize(gateway.resume_ids);
  request->priority = static_cast<int32_t>(gateway.priority);
  if (gateway.deadline_ns)
    request->deadline_ns = std::max<int64_t>(arrived_ns + *gateway.deadline_ns, 1);
  request->target = {.ttft_ns = gateway.target.ttft_ns,
                     .tpot_ns = gateway.target.tpot_ns,
                     .total_ns = gateway.target.total_ns};
  if (!gateway.cache_salt.empty()) request->cache_salt = contract::salt_number(gateway.cache_salt);
}

}  // namespace

std::vector<engine::Request> make_engine_requests(const EngineRequestInput& input,
                                                  uint64_t first_id) {
  std::vector<engine::Request> requests;
  const engine::SamplingParams sampling = to_sampling(input);
  for (int64_t choice = 0; choice < input.fields.n; ++choice) {
    engine::Request request;
    request.id = {first_id + static_cast<uint64_t>(choice)};
    request.prompt_ids = input.prompt_ids;
    request.sampling = sampling;
    request.sampling.seed = input.seed + static_cast<uint64_t>(choice);
    request.cache_salt = cache_salt_of(input.fields.cache_salt, input.salt_key);
    request.prompt_logprobs_top = input.prompt_logprobs_top;
    if (input.fields.gateway) add_gateway_fields(*input.fields.gateway, input.arrived_ns, &request);
    requests.push_back(std::move(request));
  }
  return requests;
}

uint64_t cache_salt_of(std::string_view salt, uint64_t key) {
  if (salt.empty()) return 0;
  uint64_t number = key;
  for (const char c : salt) number = core::random_bits(number, static_cast<unsigned char>(c));
  return std::max<uint64_t>(number, 1);
}

}  // namespace sluice::server
