// What a request passes through, as a table: forwards until one answers, backwards over the events
// of its answer and over its end.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "gateway/edge/exchange.h"
#include "gateway/edge/replies.h"

namespace sluice::gateway {

enum class Forward : uint8_t {
  kNext,
  kAnswered,  // the client has its answer, or another part will give it
  kWaits,     // comes again here
};

enum class EventAction : uint8_t {
  kForward,
  kReplace,  // the client gets EventView::replacement
  kHold,     // it does not get it
  kEnd,      // nor anything after it: the rest is the gateway's
};

// One event of a stream, on its way back.
struct EventView {
  std::string_view text;  // as it came, with the empty line that ends it
  std::string_view data;  // "" a comment, or data in more than one line
  api::RelayedAnswer answer;
  int64_t output_tokens = 0;
  std::string replacement = {};
};

struct Filter {
  std::string_view name;
  Forward (*forward)(Exchange& exchange) = nullptr;
  void (*on_start)(const Exchange& exchange, HeaderList* headers) = nullptr;  // of its answer
  EventAction (*on_event)(Exchange& exchange, EventView* event) = nullptr;
  void (*on_end)(Exchange& exchange, const contract::UsageEvent& event) = nullptr;
};

std::span<const Filter> filters();
// Where a request that an upstream has failed starts again.
size_t route_filter();

// From `exchange.next_filter` on.
void run_forward(Exchange& exchange);
// The headers that the filters add to an answer.
void run_start(const Exchange& exchange, HeaderList* headers);
// The last of the actions in the order of their list holds.
EventAction run_backward(Exchange& exchange, EventView* event);

}  // namespace sluice::gateway
