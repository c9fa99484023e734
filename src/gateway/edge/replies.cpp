#include "gateway/edge/replies.h"

#include <algorithm>
#include <charconv>

namespace sluice::gateway {
namespace {

constexpr std::string_view kPassBack[] = {
    "content-type", "cache-control", "openai-processing-ms", "openai-version", "x-accel-buffering",
};

// What a client may not tell an upstream: who it is to the gateway, what the gateway says itself,
// and encodings that nobody here could read the usage out of.
constexpr std::string_view kNotPassedOn[] = {
    "host",
    "authorization",
    "content-length",
    "expect",
    "accept-encoding",
    "x-request-id",
    "traceparent",
    "cookie",
    "content-encoding",
    "forwarded",
    "tracestate",
    "x-api-key",
    "api-key",
    "proxy-authorization",
};
constexpr std::string_view kNotPassedOnPrefixes[] = {
    "x-sluice-", "x-llm-d-", "x-gateway-", "x-forwarded-", "x-envoy-",
};

bool begins_ignoring_case(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         net::equal_ignoring_case(text.substr(0, prefix.size()), prefix);
}

// Asked of every header: most names differ in their size already.
bool is_one_of(std::string_view name, std::span<const std::string_view> names) {
  return std::any_of(names.begin(), names.end(), [&](std::string_view known) {
    return known.size() == name.size() && net::equal_ignoring_case(known, name);
  });
}

}  // namespace

void HeaderList::add(std::string_view name, std::string_view value) {
  fields_.push_back({name, values_.size(), value.size()});
  values_.append(value);
}

void HeaderList::add(std::string_view name, int64_t value) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value);
  add(name, std::string_view(digits, static_cast<size_t>(end.ptr - digits)));
}

std::span<const net::Header> HeaderList::view() {
  views_.clear();
  for (const Field& field : fields_)
    views_.push_back({field.name, std::string_view(values_).substr(field.begin, field.size)});
  return views_;
}

std::string money_text(contract::NanoMoney amount) {
  constexpr int64_t kUnit = 1'000'000'000;
  return fmt::format("{}.{:09}", amount.nano / kUnit, amount.nano % kUnit);
}

net::Response error_response(const api::Error& error, std::string_view request_id) {
  net::Response response = {.status = error.status,
                            .headers = {{"Content-Type", "application/json"}},
                            .body = api::to_json(error)};
  if (!request_id.empty()) response.headers.push_back({"x-request-id", std::string(request_id)});
  if (error.retry_after_seconds > 0)
    add_retry_after(error.retry_after_seconds * 1'000'000'000, &response.headers);
  if (!error.allow.empty()) response.headers.push_back({"Allow", error.allow});
  return response;
}

void add_retry_after(int64_t retry_after_ns, std::vector<net::OwnedHeader>* headers) {
  const int64_t ms = std::max<int64_t>(1, (retry_after_ns + 999'999) / 1'000'000);
  headers->push_back({"Retry-After", std::to_string((ms + 999) / 1000)});
  headers->push_back({"retry-after-ms", std::to_string(ms)});
}

bool passes_back(std::string_view name) {
  return is_one_of(name, kPassBack);
}

bool passes_on(std::string_view name) {
  if (is_one_of(name, kNotPassedOn)) return false;
  return std::none_of(std::begin(kNotPassedOnPrefixes), std::end(kNotPassedOnPrefixes),
                      [&](std::string_view prefix) { return begins_ignoring_case(name, prefix); });
}

}  // namespace sluice::gateway
