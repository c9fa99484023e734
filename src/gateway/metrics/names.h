// The words that metrics, access log and spans use for enumerators, by value.
#pragma once

#include <string_view>

#include "contract/usage_event.h"
#include "gateway/metrics/counters.h"

namespace sluice::gateway {

inline constexpr std::string_view kDecisionNames[kValveDecisions] = {
    "none",          "local",           "local_forced", "remote_target", "remote_saturated",
    "remote_policy", "remote_no_local", "waited",       "refused"};
inline constexpr std::string_view kUnitNames[contract::kUnits] = {
    "prompt_token", "cached_prompt_token", "output_token", "reasoning_token",
    "compute_microsecond"};
inline constexpr std::string_view kEventKindNames[] = {"chat_completion", "completion",
                                                       "embedding"};
inline constexpr std::string_view kLimitLabels[kDimensions] = {
    "requests_per_minute",      "input_tokens_per_minute",
    "output_tokens_per_minute", "tokens_per_minute",
    "concurrent_streams",       "tokens_per_day",
    "tokens_per_month",         "money_per_day",
    "money_per_month",          "balance"};
inline constexpr std::string_view kAuthLabels[kAuthRefusals] = {"no_key",  "unknown_key", "revoked",
                                                                "expired", "network",     "model"};

template <typename E, size_t N>
constexpr std::string_view name_of(const std::string_view (&names)[N], E value) {
  return names[static_cast<size_t>(value)];
}

}  // namespace sluice::gateway
