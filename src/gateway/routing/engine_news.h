// What an engine says of itself (GET /internal/events), taken into the routing's state.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/result.h"
#include "gateway/routing/routing_table.h"

namespace sluice::gateway {

enum class Heard : uint8_t {
  kUnderstood,
  kAskForSnapshot,  // changes were missed: connect anew, without Last-Event-ID
};

// One event's data. Load and state go to the replica's tracker, pages to the prefix index, page
// size and namespace to the model. Error: it is no event (api::parse_engine_event).
core::Result<Heard> hear(const RoutingTable& table, const RoutedReplica& replica,
                         std::string_view data, int64_t now_ns);

}  // namespace sluice::gateway
