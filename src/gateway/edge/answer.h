// The way back: what an upstream answers, and what becomes of a request whose upstream fails.
#pragma once

#include "gateway/edge/filters.h"

namespace sluice::gateway {

// The last filter: to the replica that was chosen.
Forward send_upstream(Exchange& exchange);

// All chunks of a stream have one identity, also those of the replica that goes on with it.
EventAction keep_one_stream(Exchange& exchange, EventView* event);

// A started stream stays at its place, and goes on at replicas that can use what is known of it.
void exclude_from_resuming(Exchange* exchange);

// Nobody else can go on: what the last failure left to say is said.
void give_up(Exchange& exchange);

// The stream, or the answer that has not begun, ends with this error.
void end_with_error(Exchange& exchange, contract::Outcome outcome, const api::Error& error);

// The head of a stream, for a heartbeat or the first event.
void begin_stream(Exchange& exchange);

// What the replica did not do in time.
void upstream_stalled(Exchange& exchange);

}  // namespace sluice::gateway
