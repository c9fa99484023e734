#include "store/usage_totals.h"

#include <chrono>

namespace sluice::store {
namespace {

constexpr int64_t kDayNs = 86'400'000'000'000;

bool is_failure(contract::Outcome outcome) {
  using contract::Outcome;
  return outcome == Outcome::kTimedOut || outcome == Outcome::kUpstreamError ||
         outcome == Outcome::kUpstreamErrorWithUsage || outcome == Outcome::kGatewayLost;
}

constexpr int64_t UsageTotals::*kQuantities[contract::kUnits] = {
    // by Unit
    &UsageTotals::prompt_tokens,    &UsageTotals::cached_tokens, &UsageTotals::output_tokens,
    &UsageTotals::reasoning_tokens, &UsageTotals::compute_us,
};

}  // namespace

void UsageTotals::add(const contract::UsageEvent& event) {
  requests += 1;
  refused += event.outcome == contract::Outcome::kRefused ? 1 : 0;
  failed += is_failure(event.outcome) ? 1 : 0;
  missed += event.target_met ? 0 : 1;
  for (const contract::UsageLine& line : event.lines) {
    if (line.side != contract::LineSide::kCostOnly)
      this->*kQuantities[static_cast<size_t>(line.unit)] += line.quantity;
    amount = amount + line.amount;
    cost = cost + line.cost;
  }
}

void UsageTotals::add(const UsageTotals& other) {
  requests += other.requests;
  refused += other.refused;
  failed += other.failed;
  missed += other.missed;
  prompt_tokens += other.prompt_tokens;
  cached_tokens += other.cached_tokens;
  output_tokens += other.output_tokens;
  reasoning_tokens += other.reasoning_tokens;
  compute_us += other.compute_us;
  amount = amount + other.amount;
  cost = cost + other.cost;
}

int64_t first_day_of_month(int64_t day) {
  using std::chrono::sys_days;
  const std::chrono::year_month_day date{sys_days(std::chrono::days(day))};
  return sys_days(date.year() / date.month() / 1).time_since_epoch().count();
}

int64_t day_of(int64_t unix_ns) {
  return unix_ns / kDayNs - (unix_ns % kDayNs < 0 ? 1 : 0);
}

}  // namespace sluice::store
