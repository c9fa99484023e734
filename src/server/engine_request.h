// From wire fields to what the engine is asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "api/generation_fields.h"
#include "engine/request.h"

namespace sluice::server {

struct EngineRequestInput {
  const api::GenerationFields& fields;
  const std::vector<int32_t>& prompt_ids;
  int64_t max_tokens = 0;
  int32_t logprobs_top = -1;         // as engine::SamplingParams has it
  int32_t prompt_logprobs_top = -1;  // as engine::Request has it
  uint64_t seed = 0;                 // of choice 0; choice i has seed + i
  uint64_t salt_key = 0;             // see cache_salt_of()
  int64_t arrived_ns = 0;            // of the engine's clock
};

// The `n` choices of one prompt, ids counted on from `first_id`.
std::vector<engine::Request> make_engine_requests(const EngineRequestInput& input,
                                                  uint64_t first_id);

// The number of a client's own salt; 0 for none. Keyed by this process's secret, so that nobody can
// look for a text with the number of somebody else's.
uint64_t cache_salt_of(std::string_view salt, uint64_t key);

}  // namespace sluice::server
