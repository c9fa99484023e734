// Days and months of the UTC calendar, numbered from 1970 on.
#pragma once

#include <cstdint>

namespace sluice::gateway {

enum class PeriodKind : uint8_t { kDay, kMonth };

// Times before 1970 lie in period 0.
int64_t period_of(PeriodKind kind, int64_t unix_ns);
// The first nanosecond of a period; that of period + 1 is the end of this one.
int64_t period_start_unix_ns(PeriodKind kind, int64_t period);

}  // namespace sluice::gateway
