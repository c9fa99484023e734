// The decision: local, remote, wait, or no. Pure: (request, candidates, state of the valve,
// chance). docs/valve.md is its page.
//
//  1. Candidates whose place may not see the data (may_use), or that the policy forbids, are gone.
//  2. Local if its expected miss is within what the valve allows now (P(all parts met) ≥ q).
//  3. Else the cheapest remote that meets the target, with room, within the budget.
//  4. Else, best effort: what has room and is predicted to end first.
//  5. Else wait, when a place frees before the deadline.
//  6. Else no, with the time after which asking again makes sense.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "contract/money.h"
#include "contract/permission.h"
#include "contract/snapshot.h"
#include "contract/usage_event.h"
#include "gateway/routing/latency_model.h"

namespace sluice::gateway {

// What of a request matters to where it goes.
struct RouteFacts {
  contract::Target target;
  contract::Policy policy = contract::Policy::kLocalFirst;
  contract::DataClass data_class = contract::DataClass::kInternal;
  TokenEstimate tokens;
  int64_t deadline_ns = 0;                         // on the clock of now_ns; 0: none
  std::optional<contract::NanoMoney> budget_left;  // what it may cost its tenant; none: no bound
};

// A replica that could take it. `pool` is not owned.
struct Candidate {
  const contract::Pool* pool = nullptr;
  ReplicaView view;
  int64_t cached_tokens = 0;  // of the prompt, expected to be in its prefix cache
  contract::NanoMoney cost;   // expected, platform → owner
  contract::NanoMoney sale;   // at most, tenant → platform
  bool out = false;           // not healthy (health.h, select_out)
  bool on_trial = false;      // ReplicaTracker::on_trial
};

// The valve of one model at this moment (ValveState::view).
struct ValveView {
  double miss_allowed = 1.0;  // what expected_miss() may reach; corrected online
  bool open = false;          // local pools are saturated
};

enum class Refusal : uint8_t {
  kNone,
  kNoReplica,  // nothing that may take it exists or is alive: 503
  kSaturated,  // no room before the deadline: 503
  kBusy,       // limited remotes said 429, local has no room: 429
  kBudget,     // only a remote has room, and the budget does not reach: 429 insufficient_quota
};

struct ValveAnswer {
  enum class Kind : uint8_t { kSend, kWait, kRefuse } kind = Kind::kRefuse;
  int32_t candidate = -1;  // kSend
  contract::ValveDecision reason = contract::ValveDecision::kRefused;
  Refusal refusal = Refusal::kNone;
  Latency predicted;           // kSend
  double miss = 0.0;           // kSend: expected_miss of it
  int64_t retry_after_ns = 0;  // kWait: ask again then, or when a place frees; kRefuse: truly
};

struct ValveInput {
  const RouteFacts* facts = nullptr;
  std::span<const Candidate> candidates;
  ValveView valve;
  int64_t now_ns = 0;
  uint64_t random = 0;
};
ValveAnswer decide(const ValveInput& input);

// May this request go there at all? Policy and data class; asked by decide() of every candidate.
bool may_go(const RouteFacts& facts, const contract::Pool& pool);

// Least cost in milliseconds among `chosen` (indices of candidates). With news older than
// kStaleNs everywhere: the better of two drawn at random, so that gateways do not herd.
inline constexpr int64_t kStaleNs = 200'000'000;
int32_t least_cost(const ValveInput& input, std::span<const int32_t> chosen);

}  // namespace sluice::gateway
