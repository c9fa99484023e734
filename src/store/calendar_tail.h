// What has been used of calendar quotas where the store lags: its sums, and the records of a
// journal that it does not have yet.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/result.h"
#include "store/journal_copier.h"
#include "store/store.h"

namespace sluice::store {

inline constexpr int64_t kTailRecordsMax = 500'000;  // half a second of reading

// Of the UTC day and month of `unix_ns`, with all that is durable in the journal. nullopt: not yet,
// the record `last_sequence` is not durable, or the store is further behind than kTailRecordsMax.
core::Result<std::optional<std::vector<CalendarUse>>> calendar_use_with_tail(
    Store* store, const JournalCopier::Source& journal, uint64_t last_sequence, int64_t unix_ns);

}  // namespace sluice::store
