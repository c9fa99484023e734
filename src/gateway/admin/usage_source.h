// What the admin API reads and does not own: usage, balances, the history of changes and money. The
// store answers (an adapter in apps/ joins the two); a test answers from memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "contract/money.h"
#include "contract/usage_event.h"
#include "core/result.h"

namespace sluice::gateway {

enum class UsageGroup : uint8_t { kTenant, kProject, kKey, kModel, kDay };  // day: UTC

struct UsageQuery {
  std::string tenant;  // "" all of each
  std::string project;
  std::string key;
  std::string model;
  int64_t from_unix_s = 0;
  int64_t to_unix_s = 0;  // exclusive; 0: now
  std::vector<UsageGroup> group_by;
};

struct UsageRow {
  std::vector<std::string> group;  // by UsageQuery::group_by; a day is "2026-11-30"
  int64_t requests = 0;
  int64_t quantities[contract::kUnits] = {};  // by Unit
  contract::NanoMoney amount;
  contract::NanoMoney cost;
};

struct Balance {
  std::string tenant;
  contract::NanoMoney available;
  contract::NanoMoney reserved;
};

// Called on a thread that may wait.
class UsageSource {
 public:
  virtual ~UsageSource() = default;
  // Waits until usage() and balances() know what was recorded before the call, but not for long.
  // Returns how many records they still miss.
  virtual int64_t catch_up() = 0;
  virtual core::Result<std::vector<UsageRow>> usage(const UsageQuery& query) = 0;
  // Of one tenant, or of all.
  virtual core::Result<std::vector<Balance>> balances(const std::string& tenant) = 0;
  // Changes of a later generation than `after`, oldest first.
  virtual core::Result<std::vector<contract::ChangeRecord>> changes(int64_t after,
                                                                    int64_t count_max) = 0;
  // Those of `ids` that the records know. An error while records of an earlier start may be
  // missing.
  virtual core::Result<std::vector<contract::BalanceChange>> balance_changes(
      const std::vector<std::string>& ids) = 0;
};

}  // namespace sluice::gateway
