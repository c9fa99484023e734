// What the gateway and its administrators ask of the database: the snapshot in force and the ones
// before, who changed what, and what limits start from. Reports are store/reports.h's, what the
// journal brings in is store/follower.h's.
//
// A Store is one connection: it belongs to one thread. Errors as in store/database.h; after kIo,
// open another one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "contract/snapshot.h"
#include "contract/usage_event.h"
#include "core/result.h"
#include "ledger/account.h"
#include "store/database.h"
#include "store/store_address.h"

namespace sluice::store {

// A snapshot's text is contract/snapshot_json.h's.
struct StoredSnapshot {
  int64_t generation = 0;
  int64_t published_unix_ns = 0;
  std::string json;
};

enum class Published : uint8_t {
  kNow,
  kStale,  // the generation in force is not below it: read it, apply the change again
};

// A place in the list of changes: the last one seen.
struct ChangeCursor {
  int64_t generation = 0;
  int64_t gateway = 0;
  int64_t sequence = 0;
};
struct StoredChange {
  ChangeCursor cursor;
  contract::ChangeRecord change;
};

// What has been used of calendar quotas, by the objects that they hang on.
enum class QuotaHolder : uint8_t { kKey, kProject, kTenant, kModel };
struct CalendarUse {
  QuotaHolder holder = QuotaHolder::kKey;
  std::string id;
  int64_t day_tokens = 0;
  int64_t month_tokens = 0;
  contract::NanoMoney day_money;
  contract::NanoMoney month_money;
  bool operator==(const CalendarUse&) const = default;
};

struct Balance {
  ledger::Account account;
  contract::NanoMoney balance;
};

class Store {
 public:
  static core::Result<std::unique_ptr<Store>> open(const StoreAddress& address, OpenFor use);

  // ---- snapshots --------------------------------------------------------------------------

  // 0: none yet. What a watcher asks, cheap.
  core::Result<int64_t> generation();
  core::Result<std::optional<StoredSnapshot>> latest_snapshot();
  core::Result<std::optional<StoredSnapshot>> snapshot(int64_t generation);

  // Puts snapshot.generation in force, of which `json` is the text, and keeps its prices in the
  // history. Of two writers with the same generation one gets kStale.
  core::Result<Published> publish(const contract::Snapshot& snapshot, std::string_view json,
                                  int64_t unix_ns);

  // Every price that ever was in force, by version.
  core::Result<std::vector<contract::Price>> price_history();

  // Behind the cursor, oldest first.
  core::Result<std::vector<StoredChange>> changes(const ChangeCursor& behind, int64_t count_max);

  // ---- what limits start from -------------------------------------------------------------

  // Of the UTC day and month of `unix_ns`.
  core::Result<std::vector<CalendarUse>> calendar_use(int64_t unix_ns);

  // The last record of the gateway's journal that is in here; 0: none.
  core::Result<uint64_t> applied_sequence(uint64_t gateway);

  core::Result<std::vector<Balance>> balances();

  core::Result<std::optional<contract::BalanceChange>> balance_change(std::string_view id);

  // Reservations without an event, of every gateway.
  core::Result<std::vector<contract::Reservation>> open_reservations();

  Database* database() { return database_.get(); }

 private:
  explicit Store(std::unique_ptr<Database> database) : database_(std::move(database)) {}
  core::Result<void> keep_prices(const contract::Snapshot& snapshot);
  std::unique_ptr<Database> database_;
};

}  // namespace sluice::store
