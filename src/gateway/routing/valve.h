// The decision: local, remote, wait, or no. Pure: (request, candidates, state of the valve,
// chance). docs/valve.md is its page.
//
//  1. Candidates whose place may not see the data (may_use), or that the policy forbids, are gone.
//  2. Local if its expected miss is within what the valve allows now (P(all parts met) ≥ q).
//  3. Else the cheapest remote that meets the target, with room, within the budget.
//  4. Else, with room, what is likeliest to meet it, if it is likely at all.
//  5. Else, late: the local, then the remote with room that is predicted to end first.
//  6. Else wait, when a place frees before the deadline.
//  7. Else no, with the time after which asking again makes sense.
//
// What has no target meets it: then 2 holds until the valve opens, at saturation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "contract/money.h"
#include "contract/permission.h"
#include "contract/snapshot.h"
#include "contract/usage_event.h"
#include "gateway/routing/latency_model.h"

namespace sluice::gateway {

inline constexpr size_t kStatistics = 3;

// What of a request matters to where it goes.
struct RouteFacts {
  contract::Target target;
  contract::Policy policy = contract::Policy::kLocalFirst;
  contract::DataClass data_class = contract::DataClass::kInternal;
  TokenEstimate tokens;
  int64_t waited_ns = 0;    // in the gateway, since it arrived: the target's times count from there
  int64_t deadline_ns = 0;  // until when it may wait, on the clock of now_ns; 0: it may not
  std::optional<contract::NanoMoney> budget_left;  // reserved for it, its tenant has no more; or:
                                                   // enough for any replica
};

// A replica that could take it. `pool` is not owned.
struct Candidate {
  const contract::Pool* pool = nullptr;
  ReplicaView view;
  int64_t cached_tokens = 0;  // of the prompt, expected to be in its prefix cache
  // What others will compute again because this prompt takes their pages there. Counts where one of
  // several is chosen, not in what is predicted for the request.
  double displaced_tokens = 0.0;
  contract::NanoMoney cost;  // expected, platform → owner
  contract::NanoMoney sale;  // at most, tenant → platform
  bool home = false;         // the conversation's last answer came from there
  bool out = false;          // not healthy (health.h, select_out)
};

// The valve of one model at this moment (ValveState::view).
struct ValveView {
  std::array<double, kStatistics> miss_allowed = {1.0, 1.0, 1.0};  // by the strictest statistic
  bool open = false;                                               // local pools are saturated
  double saturation = 0.0;                                         // of them, at the last decision
  // The q of the contract, for metrics and headers.
  double q(contract::Statistic statistic) const;
};

enum class Refusal : uint8_t {
  kNone,
  kForbidden,  // policy and data class leave no place: 403
  kNoReplica,  // none that may take it is alive: 503
  kSaturated,  // no room before the deadline: 503
  kBudget,     // a remote would, but it costs more than is left: 429 insufficient_quota
};

// How local compute looked for a request with a target: what the valve learns from.
struct LocalChance {
  contract::Statistic statistic = contract::Statistic::kP99;
  double miss = 0.0;  // expected_miss() of the best local candidate
  enum class Went : uint8_t { kLocal, kElsewhere } went = Went::kLocal;
};

struct ValveAnswer {
  enum class Kind : uint8_t { kSend, kWait, kRefuse } kind = Kind::kRefuse;
  int32_t candidate = -1;  // kSend
  contract::ValveDecision reason = contract::ValveDecision::kRefused;
  Refusal refusal = Refusal::kNone;
  Latency predicted;                 // kSend
  std::optional<LocalChance> local;  // kSend, with a target and a local candidate that had room
  int64_t retry_after_ns = 0;  // kWait: ask again then, or when a place frees; kRefuse: the truth
};

struct ValveInput {
  const RouteFacts* facts = nullptr;
  std::span<const Candidate> candidates;
  ValveView valve;
  int64_t now_ns = 0;
  uint64_t random = 0;
};
ValveAnswer decide(const ValveInput& input);

// May this request go there at all? Policy and data class; decide() asks it of every candidate.
bool may_go(const RouteFacts& facts, const contract::Pool& pool);

// The index of the candidate with the least predicted total among `chosen` (not empty): cost in
// milliseconds, cached prefix and load in one. Where no replica has told of its load for kStaleNs,
// among two drawn at random and the one with most of the prefix, if any has some of it, so that
// gateways do not herd.
inline constexpr int64_t kStaleNs = 200'000'000;
int32_t least_cost(const ValveInput& input, std::span<const int32_t> chosen);

}  // namespace sluice::gateway
