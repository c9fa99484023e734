// What limits start from: used tokens and money of the running day and month, and balances, as the
// store has them.
#pragma once

#include <vector>

#include "core/result.h"
#include "gateway/limits/limit_table.h"
#include "store/store.h"

namespace sluice::apps {

// `names`: what LimitTable::apply() did not count before.
core::Result<void> restore_limits(store::Store* store, gateway::LimitTable* limits,
                                  const std::vector<gateway::LimitName>& names, int64_t unix_ns);

}  // namespace sluice::apps
