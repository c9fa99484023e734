// What a request came to, as its one event.
#pragma once

#include "gateway/edge/exchange.h"

namespace sluice::gateway {

struct Ending {
  contract::Outcome outcome = contract::Outcome::kComplete;
  int status = 200;
  int64_t now_ns = 0;
  bool target_met = true;
};

// `event` is written over; its memory is used again.
void fill_event(const Exchange& exchange, const Ending& ending, contract::UsageEvent* event);

}  // namespace sluice::gateway
