// What limits start from: used tokens and money of the running day and month, and balances, as the
// store has them, and where it lags behind a gateway that runs, the store and the journal.
#pragma once

#include <vector>

#include "core/result.h"
#include "gateway/limits/limit_table.h"
#include "store/journal_copier.h"
#include "store/store.h"

namespace sluice::apps {

// `names`: what LimitTable::apply() did not count before.
core::Result<void> restore_limits(store::Store* store, gateway::LimitTable* limits,
                                  const std::vector<gateway::LimitName>& names, int64_t unix_ns);

// Calendar quotas that began at the journal's record `last_sequence`. False: it is too early to say
// (store::calendar_use_with_tail).
struct RunningJournal {
  store::JournalCopier::Source source;
  uint64_t last_sequence = 0;
};
core::Result<bool> restore_quotas(store::Store* store, const RunningJournal& journal,
                                  gateway::LimitTable* limits,
                                  const std::vector<gateway::LimitName>& names, int64_t unix_ns);

}  // namespace sluice::apps
