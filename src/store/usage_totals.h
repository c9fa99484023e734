// What is added up of usage events, for a day, a key, a model, a tenant.
#pragma once

#include <cstdint>

#include "contract/money.h"
#include "contract/usage_event.h"

namespace sluice::store {

struct UsageTotals {
  int64_t requests = 0;
  int64_t refused = 0;  // of them: nothing was computed
  int64_t failed = 0;   // of them: timed out, upstream error, gateway lost
  int64_t missed = 0;   // of them: a target was not met
  // Of lines that charge the tenant.
  int64_t prompt_tokens = 0;  // without the cached ones
  int64_t cached_tokens = 0;
  int64_t output_tokens = 0;  // without those of reasoning
  int64_t reasoning_tokens = 0;
  int64_t compute_us = 0;
  contract::NanoMoney amount;
  contract::NanoMoney cost;
  bool operator==(const UsageTotals&) const = default;

  int64_t tokens() const {
    return prompt_tokens + cached_tokens + output_tokens + reasoning_tokens;
  }
  void add(const contract::UsageEvent& event);
  void add(const UsageTotals& other);
};

// Days since 1970-01-01, UTC.
int64_t day_of(int64_t unix_ns);
int64_t first_day_of_month(int64_t day);

}  // namespace sluice::store
