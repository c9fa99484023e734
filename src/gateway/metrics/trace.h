// W3C trace context (https://www.w3.org/TR/trace-context/, version 00) in, out, and as spans in the
// JSON encoding of OTLP/HTTP 1.x.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "contract/usage_event.h"

namespace sluice::gateway {

struct TraceContext {
  std::array<uint8_t, 16> trace_id = {};  // not all 0
  std::array<uint8_t, 8> span_id = {};    // of the caller's span; not all 0
  bool sampled = false;
};

// nullopt: no valid header of version 00 (of a later version, its first four fields count).
std::optional<TraceContext> parse_traceparent(std::string_view header);
// "00-…-…-01"
std::string to_text(const TraceContext& context);
void append_text(const TraceContext& context, std::string* out);

// The gateway's own part of a request. `random`: two numbers by chance, for ids that are new.
struct Span {
  TraceContext self;                      // span_id: this span's
  std::array<uint8_t, 8> parent_id = {};  // all 0: it begins the trace
};
Span begin_span(const std::optional<TraceContext>& caller, uint64_t random_high,
                uint64_t random_low);

// What is exported of a request that has ended.
struct FinishedSpan {
  Span span;
  contract::UsageEvent event;
};
// A body for POST /v1/traces.
std::string otlp_json(std::span<const FinishedSpan> spans, std::string_view service_version);

}  // namespace sluice::gateway
