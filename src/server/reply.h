// What every answer carries beside its body, and answers that are ready at once.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/error.h"
#include "net/http_server.h"

namespace sluice::server {

// One request while it is worked on: whom to answer, and as what.
struct Ticket {
  net::Responder responder;
  std::string request_id;  // x-request-id: the client's own where it is a valid one
  int64_t started_ns = 0;
};

// 1 to 128 letters, digits and ". _ : -": what can be logged and echoed without harm.
bool is_valid_request_id(std::string_view text);

// The client's own id where it is a valid one, else a new one.
std::string request_id_of(const net::Request& request, uint64_t seed, uint64_t* counter);
std::string new_request_id(uint64_t seed, uint64_t* counter);

// 32 hexadecimal digits, different for each (seed, counter).
std::string random_hex(uint64_t seed, uint64_t counter);

// "Authorization: Bearer KEY" with one of the keys. The time does not depend on where a wrong key
// differs. True where there are no keys.
bool is_authorized(const net::Request& request, std::span<const std::string> keys);

// Equal; the time does not depend on where a wrong key differs.
bool equal_in_constant_time(std::string_view given, std::string_view key);

// x-request-id, and access-control-allow-origin unless `allowed_origin` is empty.
std::vector<net::OwnedHeader> common_headers(std::string_view request_id,
                                             std::string_view allowed_origin);

// Also openai-processing-ms (up to now) and, for an error, retry-after.
struct Replier {
  std::string allowed_origin;

  void json(const Ticket& ticket, std::string body, int64_t now_ns) const;
  void text(const Ticket& ticket, std::string_view content_type, std::string body,
            int64_t now_ns) const;
  void error(const Ticket& ticket, const api::Error& error, int64_t now_ns) const;
  // The same without a ticket and its time: a refusal by the HTTP layer.
  net::Response refusal(std::string_view request_id, const api::Error& error) const;
  // The answer to a browser that asks whether it may send a request from another origin.
  void preflight(const Ticket& ticket, const net::Request& request) const;
};

}  // namespace sluice::server
