// What a request came to, as its one event.
#pragma once

#include "gateway/edge/exchange.h"

namespace sluice::gateway {

// A guess where nobody counted: of a text of so many bytes, rounded up.
constexpr int64_t tokens_of_bytes(int64_t bytes) {
  constexpr int64_t kBytesPerToken = 4;
  return (bytes + kBytesPerToken - 1) / kBytesPerToken;
}

struct Ending {
  contract::Outcome outcome = contract::Outcome::kComplete;
  int status = 200;
  int64_t now_ns = 0;
  bool target_met = true;
};

// `event` is written over; its memory is used again.
void fill_event(const Exchange& exchange, const Ending& ending, contract::UsageEvent* event);

// The tokens that the tenant is charged for.
api::RelayedUsage charged_usage(const contract::UsageEvent& event);

}  // namespace sluice::gateway
