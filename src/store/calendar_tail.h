// What has been used of calendar quotas where the store lags: its sums, and the records of a
// journal that it does not have yet.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "contract/usage_event.h"
#include "core/result.h"
#include "store/journal_copier.h"
#include "store/store.h"

namespace sluice::store {

inline constexpr int64_t kTailRecordsMax = 500'000;  // half a second of reading

struct TailQuery {
  uint64_t last_sequence = 0;                 // that must be known
  int64_t unix_ns = 0;                        // in the UTC day and month
  std::set<contract::RequestId> except = {};  // somebody else counts them; of the running start
};

// nullopt: not yet, the record `last_sequence` is not durable, or the store is further behind than
// kTailRecordsMax.
core::Result<std::optional<std::vector<CalendarUse>>> calendar_use_with_tail(
    Store* store, const JournalCopier::Source& journal, const TailQuery& query);

}  // namespace sluice::store
