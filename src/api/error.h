// What a client got wrong, or what the server cannot do now, as the wire's error object (OpenAI):
// {"error":{"message","type","param","code"}} with an HTTP status.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"

namespace sluice::api {

struct Error {
  int status = 400;
  std::string type = "invalid_request_error";
  std::string code;   // empty: null
  std::string param;  // the field, e.g. "messages[2].content"; empty: null
  std::string message;
  int64_t retry_after_seconds = 0;  // above 0: sent as Retry-After
  std::string allow = {};           // of a 405: the methods that there are, sent as Allow
};

Error invalid_field(std::string_view param, std::string_view message);
Error unsupported_field(std::string_view param, std::string_view message);
Error invalid_json(std::string_view message);
Error context_too_long(std::string_view param, std::string_view message);
Error invalid_api_key(std::string_view message);
Error model_not_found(std::string_view model);
Error not_found(std::string_view message);
Error method_not_allowed(std::string_view message, std::string_view allow);
Error server_error(std::string_view message);
// Who shows no valid key of a gateway.
Error not_the_gateway(std::string_view message);
Error deadline_exceeded();
Error overloaded(std::string_view message, int64_t retry_after_seconds);
Error permission_denied(std::string_view message);
Error rate_limit_exceeded(std::string_view message);  // 429: a later attempt can pass
Error insufficient_quota(std::string_view message);   // 429: none does, until somebody pays
Error bad_upstream(std::string_view message);         // 502
Error upstream_timeout(std::string_view message);     // 504

// What a bare HTTP status (a refusal by the HTTP parser: 400, 408, 413, 414, 431, 501, 505) says.
Error from_status(int status, std::string_view message);

// {"error":{…}}
std::string to_json(const Error& error);

template <typename T>
using Parsed = core::Result<T, Error>;

}  // namespace sluice::api
