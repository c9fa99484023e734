// What a client got wrong, or what the server cannot do now, as the wire's error object (OpenAI):
// {"error":{"message","type","param","code"}} with an HTTP status.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

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
Error overloaded(std::string_view message, int64_t retry_after_seconds);

// What a bare HTTP status (a refusal by the HTTP parser: 400, 408, 413, 414, 431, 501, 505) says.
Error from_status(int status, std::string_view message);

// {"error":{…}}
std::string to_json(const Error& error);

// A T or an api::Error; TRY() of core/result.h passes the error on.
template <typename T>
class [[nodiscard]] Parsed {
 public:
  Parsed(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Parsed(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  T& value() & {
    check();
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    check();
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    check();
    return std::move(*std::get_if<0>(&state_));
  }
  const Error& error() const {
    ASSERT(!ok(), "error() of a value");
    return *std::get_if<1>(&state_);
  }
  T& operator*() { return value(); }
  T* operator->() { return &value(); }

 private:
  void check() const { ASSERT(ok(), "value() of an error: {}", std::get_if<1>(&state_)->message); }
  std::variant<T, Error> state_;
};

}  // namespace sluice::api
