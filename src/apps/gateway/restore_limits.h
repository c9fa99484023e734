// What quotas and balances start from: used tokens and money of the running day and month, and
// balances, as the store has them, and where it lags behind a gateway that runs, the store and the
// journal. Who has such a limit is told to come again until they have been read, and for what; what
// keeps them from being read stands in the log.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/log.h"
#include "core/result.h"
#include "gateway/limits/limit_table.h"
#include "store/follower.h"
#include "store/journal.h"
#include "store/journal_copier.h"
#include "store/store.h"

namespace sluice::apps {

// The requests that ran when limits began and count in them, by what each data loop says.
class JoinedRequests {
 public:
  explicit JoinedRequests(size_t loops) : missing_(loops) {}

  // By a data loop: from here on, what it begins is held by the new limits.
  void add(const std::vector<contract::RequestId>& joined);
  // Have all loops spoken? Waits for it.
  bool wait(int64_t timeout_ns);
  // When they have.
  std::set<contract::RequestId> take() { return std::move(ids_); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t missing_;
  std::set<contract::RequestId> ids_;
};

// One thread's: the admin loop.
class LimitRestorer {
 public:
  struct Sources {
    const core::Clock& clock;
    const core::Logger& log;
    store::StoreAddress store;
    store::JournalCopier::Source journal_source;
    store::Journal& journal;
    store::Follower& follower;
    gateway::LimitTable& limits;
  };
  explicit LimitRestorer(Sources sources) : sources_(std::move(sources)) {}

  // `names`: withheld limits, that begin with what earlier starts have left.
  void begin_at_start(const std::vector<gateway::LimitName>& names);
  // That begin while requests run: with what all others than `joined` have used. Waits a moment,
  // so that they mostly are known when it returns.
  void begin(const std::vector<gateway::LimitName>& names, std::shared_ptr<JoinedRequests> joined);
  // Tries again with those that are not known yet.
  void run();
  // What was paid to a balance that is not known yet is in the records from which it will begin.
  void after_balance_change(std::string_view tenant);

 private:
  // Why limits are not known yet.
  struct Obstacle {
    gateway::Awaited awaited = gateway::Awaited::kGateway;
    std::string why;        // for the log
    bool is_fault = false;  // false: it passes by itself, mostly at once
    bool operator==(const Obstacle&) const = default;
  };
  struct Unknown {
    std::vector<gateway::LimitName> names;
    std::optional<gateway::Awaited> told = std::nullopt;  // to clients
    std::optional<Obstacle> logged = std::nullopt;        // the last
  };
  // Limits that began together.
  struct Group {
    Unknown quotas;
    Unknown balances;
    int64_t began_ns = 0;
    std::shared_ptr<JoinedRequests> joined;     // null: all loops have spoken, or none runs
    std::set<contract::RequestId> except = {};  // requests that the limits count themselves
    uint64_t last_sequence = 0;                 // the records up to it must be known
  };
  static Obstacle store_is_behind();
  static Obstacle fault_of(gateway::Awaited awaited, const core::Error& error);
  Group group_of(const std::vector<gateway::LimitName>& names) const;
  void forget(const std::vector<gateway::LimitName>& names);
  bool hear_loops(Group* group, int64_t timeout_ns);
  bool restore(Group* group);
  std::optional<Obstacle> before_reading(Group* group);
  std::optional<Obstacle> restore_quotas(store::Store* store, Group* group);
  std::optional<Obstacle> restore_balances(store::Store* store, Group* group);
  void restore_known(const std::map<gateway::LimitName, int64_t>& known, Unknown* unknown);
  void tell(const Obstacle& obstacle, int64_t began_ns, Unknown* unknown);

  const Sources sources_;
  std::vector<Group> groups_;
};

}  // namespace sluice::apps
