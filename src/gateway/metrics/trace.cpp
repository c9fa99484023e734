#include "gateway/metrics/trace.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "api/json_writer.h"
#include "core/hex.h"
#include "gateway/metrics/names.h"

namespace sluice::gateway {
namespace {

constexpr size_t kHeaderBytes = 55;  // 2 + 1 + 32 + 1 + 16 + 1 + 2
constexpr uint8_t kSampledFlag = 1;
constexpr int kSpanKindServer = 2;
constexpr int kStatusError = 2;

template <size_t N>
std::string hex(const std::array<uint8_t, N>& bytes) {
  std::string text;
  for (const uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

template <size_t N>
bool all_zero(const std::array<uint8_t, N>& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

// Lower-case hexadecimal only, as the specification says.
int digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool read_hex(std::string_view text, std::span<uint8_t> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    const int high = digit(text[2 * i]);
    const int low = digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return true;
}

void append_attribute(std::string_view name, std::string_view type, std::string_view value,
                      api::JsonWriter* out) {
  out->begin_object();
  out->key("key").string(name);
  out->key("value").begin_object().key(type);
  out->string(value);
  out->end_object().end_object();
}

// OTLP's JSON writes 64-bit integers as strings.
void append_integer(std::string_view name, int64_t value, api::JsonWriter* out) {
  append_attribute(name, "intValue", fmt::format("{}", value), out);
}

void append_text(std::string_view name, std::string_view value, api::JsonWriter* out) {
  append_attribute(name, "stringValue", value, out);
}

int64_t quantity_of(const contract::UsageEvent& event, contract::Unit unit) {
  int64_t sum = 0;
  for (const contract::UsageLine& line : event.lines)
    if (line.unit == unit) sum += line.quantity;
  return sum;
}

// Names of OpenTelemetry's semantic conventions where they have one (http.*, gen_ai.*).
void append_attributes(const contract::UsageEvent& event, api::JsonWriter* out) {
  using contract::Unit;
  out->key("attributes").begin_array();
  append_text("gen_ai.operation.name", name_of(kEventKindNames, event.kind), out);
  append_text("gen_ai.request.model", event.model, out);
  append_text("gen_ai.response.finish_reasons", event.finish_reason, out);
  append_integer(
      "gen_ai.usage.input_tokens",
      quantity_of(event, Unit::kPromptToken) + quantity_of(event, Unit::kCachedPromptToken), out);
  append_integer("gen_ai.usage.output_tokens",
                 quantity_of(event, Unit::kOutputToken) + quantity_of(event, Unit::kReasoningToken),
                 out);
  append_integer("http.response.status_code", event.status, out);
  append_text("sluice.request_id", contract::to_text(event.id), out);
  append_text("sluice.tenant", event.tenant, out);
  append_text("sluice.key", event.key, out);
  append_text("sluice.outcome", contract::to_text(event.outcome), out);
  append_text("sluice.decision", name_of(kDecisionNames, event.decision), out);
  append_integer("sluice.ttft_ns", event.ttft_ns, out);
  out->end_array();
}

void append_span(const FinishedSpan& finished, api::JsonWriter* out) {
  const auto& [span, event] = finished;
  out->begin_object();
  out->key("traceId").string(hex(span.self.trace_id));
  out->key("spanId").string(hex(span.self.span_id));
  if (!all_zero(span.parent_id)) out->key("parentSpanId").string(hex(span.parent_id));
  out->key("name").string(fmt::format("{} {}", name_of(kEventKindNames, event.kind), event.model));
  out->key("kind").integer(kSpanKindServer);
  out->key("startTimeUnixNano").string(fmt::format("{}", event.started_unix_ns));
  out->key("endTimeUnixNano").string(fmt::format("{}", event.started_unix_ns + event.total_ns));
  append_attributes(event, out);
  if (event.status >= 500)
    out->key("status").begin_object().key("code").integer(kStatusError).end_object();
  out->end_object();
}

}  // namespace

std::optional<TraceContext> parse_traceparent(std::string_view header) {
  if (header.size() < kHeaderBytes || header[2] != '-' || header[35] != '-' || header[52] != '-')
    return std::nullopt;
  std::array<uint8_t, 1> version, flags;
  TraceContext context;
  if (!read_hex(header, version) || version[0] == 0xff) return std::nullopt;
  if (header.size() > kHeaderBytes && (version[0] == 0 || header[kHeaderBytes] != '-'))
    return std::nullopt;
  if (!read_hex(header.substr(3), context.trace_id) ||
      !read_hex(header.substr(36), context.span_id) || !read_hex(header.substr(53), flags))
    return std::nullopt;
  if (all_zero(context.trace_id) || all_zero(context.span_id)) return std::nullopt;
  context.sampled = (flags[0] & kSampledFlag) != 0;
  return context;
}

std::string to_text(const TraceContext& context) {
  std::string text;
  text.reserve(kHeaderBytes);
  append_text(context, &text);
  return text;
}

void append_text(const TraceContext& context, std::string* out) {
  out->append("00-");
  core::append_hex(context.trace_id, out);
  out->push_back('-');
  core::append_hex(context.span_id, out);
  out->append(context.sampled ? "-01" : "-00");
}

Span begin_span(const std::optional<TraceContext>& caller, uint64_t random_high,
                uint64_t random_low) {
  const uint64_t span_id = random_high | 1;  // not 0
  Span span;
  if (caller) {
    span.self = *caller;
    span.parent_id = caller->span_id;
  } else {
    std::memcpy(span.self.trace_id.data(), &random_low, sizeof(random_low));
    std::memcpy(span.self.trace_id.data() + sizeof(random_low), &span_id, sizeof(span_id));
    span.self.sampled = true;
  }
  std::memcpy(span.self.span_id.data(), &span_id, sizeof(span_id));
  return span;
}

std::string otlp_json(std::span<const FinishedSpan> spans, std::string_view service_version) {
  api::JsonWriter out;
  out.begin_object().key("resourceSpans").begin_array().begin_object();
  out.key("resource").begin_object().key("attributes").begin_array();
  append_text("service.name", "sluice-gateway", &out);
  append_text("service.version", service_version, &out);
  out.end_array().end_object();
  out.key("scopeSpans").begin_array().begin_object();
  out.key("scope").begin_object().key("name").string("sluice").end_object();
  out.key("spans").begin_array();
  for (const FinishedSpan& span : spans) append_span(span, &out);
  out.end_array().end_object().end_array().end_object().end_array().end_object();
  return out.take();
}

}  // namespace sluice::gateway
