#include "server/reply.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "core/rng.h"

namespace sluice::server {
namespace {

void append_processing_time(std::vector<net::OwnedHeader>* headers, const Ticket& ticket,
                            int64_t now_ns) {
  headers->push_back(
      {"openai-processing-ms", fmt::format("{}", (now_ns - ticket.started_ns) / 1'000'000)});
}

}  // namespace

bool equal_in_constant_time(std::string_view given, std::string_view key) {
  unsigned difference = given.size() == key.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i) {
    const char expected = key.empty() ? '\0' : key[i % key.size()];
    difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(expected);
  }
  return difference == 0;
}

bool is_valid_request_id(std::string_view text) {
  constexpr size_t kBytesMax = 128;
  return !text.empty() && text.size() <= kBytesMax &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == ':' || c == '-';
         });
}

std::string request_id_of(const net::Request& request, uint64_t seed, uint64_t* counter) {
  const std::string_view given = request.header("x-request-id").value_or("");
  return is_valid_request_id(given) ? std::string(given) : new_request_id(seed, counter);
}

std::string new_request_id(uint64_t seed, uint64_t* counter) {
  return "req-" + random_hex(seed, (*counter)++);
}

std::string random_hex(uint64_t seed, uint64_t counter) {
  return fmt::format("{:016x}{:016x}", core::random_bits(seed, 2 * counter),
                     core::random_bits(seed, 2 * counter + 1));
}

bool is_authorized(const net::Request& request, std::span<const std::string> keys) {
  if (keys.empty()) return true;
  constexpr std::string_view kScheme = "bearer ";
  std::string_view given = request.header("authorization").value_or("");
  if (given.size() < kScheme.size() ||
      !net::equal_ignoring_case(given.substr(0, kScheme.size()), kScheme))
    return false;
  given.remove_prefix(kScheme.size());
  bool found = false;
  for (const std::string& key : keys) found |= equal_in_constant_time(given, key);
  return found;
}

std::vector<net::OwnedHeader> common_headers(std::string_view request_id,
                                             std::string_view allowed_origin) {
  std::vector<net::OwnedHeader> headers = {{"x-request-id", std::string(request_id)}};
  if (!allowed_origin.empty()) {
    headers.push_back({"access-control-allow-origin", std::string(allowed_origin)});
    headers.push_back({"access-control-expose-headers", "x-request-id, retry-after"});
  }
  return headers;
}

void Replier::json(const Ticket& ticket, std::string body, int64_t now_ns) const {
  text(ticket, "application/json", std::move(body), now_ns);
}

void Replier::text(const Ticket& ticket, std::string_view content_type, std::string body,
                   int64_t now_ns) const {
  net::Responder responder = ticket.responder;
  net::Response response{.headers = common_headers(ticket.request_id, allowed_origin),
                         .body = std::move(body)};
  response.headers.push_back({"content-type", std::string(content_type)});
  append_processing_time(&response.headers, ticket, now_ns);
  responder.send(response);
}

void Replier::error(const Ticket& ticket, const api::Error& error, int64_t now_ns) const {
  net::Responder responder = ticket.responder;
  net::Response response = refusal(ticket.request_id, error);
  append_processing_time(&response.headers, ticket, now_ns);
  responder.send(response);
}

net::Response Replier::refusal(std::string_view request_id, const api::Error& error) const {
  net::Response response{.status = error.status,
                         .headers = common_headers(request_id, allowed_origin),
                         .body = api::to_json(error)};
  response.headers.push_back({"content-type", "application/json"});
  if (!error.allow.empty()) response.headers.push_back({"allow", error.allow});
  if (error.status == 401) response.headers.push_back({"www-authenticate", "Bearer"});
  if (error.retry_after_seconds > 0)
    response.headers.push_back({"retry-after", fmt::format("{}", error.retry_after_seconds)});
  return response;
}

void Replier::preflight(const Ticket& ticket, const net::Request& request) const {
  net::Responder responder = ticket.responder;
  net::Response response{
      .status = 204, .headers = common_headers(ticket.request_id, allowed_origin), .body = {}};
  if (!allowed_origin.empty()) {
    const std::string_view asked = request.header("access-control-request-headers").value_or("*");
    response.headers.push_back({"access-control-allow-methods", "GET, POST, OPTIONS"});
    response.headers.push_back({"access-control-allow-headers", std::string(asked)});
    response.headers.push_back({"access-control-max-age", "86400"});
  }
  responder.send(response);
}

}  // namespace sluice::server
