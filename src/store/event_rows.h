// Usage events as they stand in the tables.
#pragma once

#include <functional>
#include <string_view>

#include "contract/usage_event.h"
#include "core/result.h"
#include "store/database.h"

namespace sluice::store {

// Every event with its lines, in the order of their numbers, one after the other: memory does not
// grow with their number. `where` is "" or a condition on events.request with its parameters.
core::Result<void> for_each_event(Database* database, std::string_view where, Parameters parameters,
                                  const std::function<void(const contract::UsageEvent&)>& visit);

}  // namespace sluice::store
