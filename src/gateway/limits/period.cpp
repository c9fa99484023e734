#include "gateway/limits/period.h"

#include <algorithm>
#include <chrono>

namespace sluice::gateway {
namespace {

constexpr int64_t kDayNs = 86'400'000'000'000;
constexpr int64_t kMonthsOfYear = 12;
constexpr int kFirstYear = 1970;

}  // namespace

int64_t period_of(PeriodKind kind, int64_t unix_ns) {
  const int64_t day = std::max<int64_t>(unix_ns, 0) / kDayNs;
  if (kind == PeriodKind::kDay) return day;
  const std::chrono::year_month_day date{std::chrono::sys_days{std::chrono::days{day}}};
  return (static_cast<int>(date.year()) - kFirstYear) * kMonthsOfYear +
         static_cast<int64_t>(static_cast<unsigned>(date.month())) - 1;
}

int64_t period_start_unix_ns(PeriodKind kind, int64_t period) {
  if (kind == PeriodKind::kDay) return period * kDayNs;
  const std::chrono::year year{kFirstYear + static_cast<int>(period / kMonthsOfYear)};
  const std::chrono::month month{static_cast<unsigned>(period % kMonthsOfYear) + 1};
  return std::chrono::sys_days{year / month / 1}.time_since_epoch().count() * kDayNs;
}

}  // namespace sluice::gateway
