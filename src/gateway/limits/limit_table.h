// The state of every limit by (object, id, dimension), which outlives snapshots: a limit whose
// number changes keeps what is used and what is reserved.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "contract/snapshot.h"
#include "core/clock.h"
#include "gateway/limits/limit.h"
#include "gateway/limits/limit_set.h"

namespace sluice::gateway {

struct LimitName {
  LimitObject object = LimitObject::kKey;
  std::string id;
  Dimension dimension = Dimension::kRequestsPerMinute;
  auto operator<=>(const LimitName&) const = default;
};

// What the records say of a calendar limit: so much was used in the period that `unix_ns` lies in.
// Of kBalance: so much is left, and `unix_ns` means nothing.
struct RecordedAmount {
  LimitName name;
  int64_t unix_ns = 0;
  int64_t amount = 0;  // tokens or nano-units
};

// What apply() changed.
struct LimitsChange {
  // Calendar limits and balances that were not counted before: restore() them from the records.
  std::vector<LimitName> uncounted;
  // Whether a limit may hold requests that run and were not held by it: one that is new, or whose
  // object a key or project has moved to.
  bool holds_more = false;
};

// apply(), withhold(), explain(), restore() and top_up() are the admin loop's; sets may be resolved
// and used by any thread.
class LimitTable {
 public:
  explicit LimitTable(const core::Clock& clock);  // must outlive the table and its sets
  ~LimitTable();

  // The limits in force from now on, also for LimitSets and reservations that are held. What a
  // snapshot no longer limits is forgotten. Until an uncounted one is restored, a calendar limit
  // counts from now (unless it is withheld), and a balance is not known: its tenant is told to come
  // again.
  // Only what differs from the snapshot before is touched: a change among tens of thousands of keys
  // takes as long as comparing them does.
  LimitsChange apply(std::shared_ptr<const contract::Snapshot> snapshot);

  // The calendar limits among `names` let nothing pass until restore() has said what was used: who
  // they hold for is told to come again. Before the sets of that apply() are resolved.
  void withhold(const std::vector<LimitName>& names);

  // What those who are told to come again are told that `names` wait for.
  void explain(const std::vector<LimitName>& names, Awaited awaited);

  // Adds what the records hold, without the requests that were counted since, to what was. Once
  // for each name; those that hold no such limit are passed over.
  void restore(const std::vector<RecordedAmount>& amounts);

  // A prepaid tenant's balance, by a top-up or an adjustment (negative). Where the balance is not
  // known yet, nothing: the records from which it begins have it. False: not prepaid.
  bool top_up(std::string_view tenant, contract::NanoMoney amount);
  // What is left of it, without what is reserved; nullopt: not prepaid, or not known yet.
  std::optional<contract::NanoMoney> balance(std::string_view tenant) const;

  // The limits of a key with its project's and its tenant's; of a model. Those that the last
  // apply() knew: call again for each snapshot.
  std::shared_ptr<const LimitSet> key_limits(const contract::Key& key,
                                             const contract::Project& project) const;
  std::shared_ptr<const LimitSet> model_limits(const contract::Model& model) const;

 private:
  using ObjectName = std::pair<LimitObject, std::string>;
  struct ObjectHash {
    size_t operator()(const ObjectName& name) const {
      return std::hash<std::string>()(name.second) + static_cast<size_t>(name.first);
    }
  };
  using States = std::array<std::shared_ptr<LimitState>, kDimensions>;  // by dimension; null: none
  using Objects = std::unordered_map<ObjectName, States, ObjectHash>;
  // What a snapshot says of one object.
  struct Numbers;
  void set(ObjectName name, const Numbers& numbers, LimitsChange* change);

  std::shared_ptr<LimitState> find(const LimitName& name) const;
  std::shared_ptr<const LimitSet> set_of(std::span<const ObjectName> names) const;

  const core::Clock& clock_;
  std::shared_ptr<const contract::Snapshot> applied_;
  mutable std::mutex mutex_;  // around changes of objects_, and reads by other threads
  Objects objects_;           // those that have a limit
};

}  // namespace sluice::gateway
