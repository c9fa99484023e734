// What was used, in sums and request by request.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "contract/usage_event.h"
#include "core/result.h"
#include "store/database.h"
#include "store/usage_totals.h"

namespace sluice::store {

enum class UsageGroup : uint8_t { kTenant, kProject, kKey, kModel, kDay };

struct UsageQuery {
  std::vector<UsageGroup> group_by;  // none: one row of everything
  int64_t first_day = 0;             // UTC, days since 1970-01-01, both included
  int64_t last_day = 0;
  std::string tenant = {};  // "": of all
  std::string project = {};
  std::string key = {};
  std::string model = {};
};

struct UsageRow {
  std::vector<std::string> group;  // by UsageQuery::group_by; a day is "2026-11-22"
  UsageTotals totals;
};

// In the order of their groups. From the sums of days, so that it takes as long as these are many.
core::Result<std::vector<UsageRow>> usage(Database* database, const UsageQuery& query);

// With its lines; nullopt: there is no such event.
core::Result<std::optional<contract::UsageEvent>> event_of(Database* database,
                                                           contract::RequestId id);
// Of those that have one. All of one start of a gateway.
core::Result<std::vector<contract::UsageEvent>> events_of(Database* database,
                                                          std::span<const contract::RequestId> ids);

// "2026-11-22" and the number of the day.
std::string day_text(int64_t day);
core::Result<int64_t> parse_day(std::string_view text);

}  // namespace sluice::store
