// The object "sluice" in a request: what a gateway tells an engine beside what its client said.
// Accepted from whoever shows the gateway's key, refused from everybody else (server/).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/json.h"

namespace sluice::api {

inline constexpr int64_t kPriorityMax = 1000;

struct GatewayFields {
  struct Target {  // 0: nothing is asked for
    int64_t ttft_ns = 0;
    int64_t tpot_ns = 0;
    int64_t total_ns = 0;
  } target;
  int64_t priority = 0;                // ± kPriorityMax, the higher goes first
  std::optional<int64_t> deadline_ns;  // from the request's arrival to its start
  std::string cache_salt;              // in place of the client's; empty: that holds
  std::vector<int32_t> prompt_ids;     // in place of the messages or the prompt; empty: none
  std::vector<int32_t> resume_ids;     // output that the client has: the answer goes on behind it
  bool token_ids = false;              // each part of the answer says which ids it came from
};

// Nullopt where there is no such object. Fields that it does not know are an Error: a gateway is
// ours, and what it asks for shall not be dropped in silence.
Parsed<std::optional<GatewayFields>> parse_gateway_fields(const Json& body);

}  // namespace sluice::api
