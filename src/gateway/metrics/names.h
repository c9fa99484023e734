// The words that metrics, access log and spans use for enumerators, by value.
#pragma once

#include <string_view>

#include "contract/usage_event.h"
#include "gateway/metrics/counters.h"

namespace sluice::gateway {

inline constexpr std::string_view kDecisionNames[kValveDecisions] = {
    "none",          "local",           "local_forced", "remote_target", "remote_saturated",
    "remote_policy", "remote_no_local", "waited",       "refused"};
inline constexpr std::string_view kStatisticNames[] = {"mean", "p50", "p99"};
inline constexpr std::string_view kEventKindNames[] = {"chat_completion", "completion",
                                                       "embedding"};
inline constexpr std::string_view kAuthLabels[kAuthRefusals] = {"no_key",  "unknown_key", "revoked",
                                                                "expired", "network",     "model"};

template <typename E, size_t N>
constexpr std::string_view name_of(const std::string_view (&names)[N], E value) {
  return names[static_cast<size_t>(value)];
}

}  // namespace sluice::gateway
