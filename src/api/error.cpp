#include "api/error.h"

#include "api/json_writer.h"

namespace sluice::api {
namespace {

Error make(int status, std::string_view type, std::string_view code, std::string_view param,
           std::string_view message) {
  return {.status = status,
          .type = std::string(type),
          .code = std::string(code),
          .param = std::string(param),
          .message = std::string(message)};
}

constexpr std::string_view kInvalidRequest = "invalid_request_error";

struct StatusRow {
  int status;
  std::string_view type;
  std::string_view code;
};

constexpr StatusRow kStatusRows[] = {
    {400, kInvalidRequest, "bad_request"},
    {401, kInvalidRequest, "invalid_api_key"},
    {404, kInvalidRequest, "not_found"},
    {408, kInvalidRequest, "request_timeout"},
    {411, kInvalidRequest, "length_required"},
    {413, kInvalidRequest, "body_too_large"},
    {414, kInvalidRequest, "target_too_long"},
    {415, kInvalidRequest, "unsupported_media_type"},
    {417, kInvalidRequest, "expectation_failed"},
    {431, kInvalidRequest, "header_too_large"},
    {501, kInvalidRequest, "not_implemented"},
    {502, "overloaded_error", "bad_upstream"},
    {503, "overloaded_error", "overloaded"},
    {504, "server_error", "upstream_timeout"},
    {505, kInvalidRequest, "http_version_not_supported"},
};

}  // namespace

Error invalid_field(std::string_view param, std::string_view message) {
  return make(400, kInvalidRequest, "invalid_value", param, message);
}
Error unsupported_field(std::string_view param, std::string_view message) {
  return make(400, kInvalidRequest, "unsupported_parameter", param, message);
}
Error invalid_json(std::string_view message) {
  return make(400, kInvalidRequest, "invalid_json", "", message);
}
Error context_too_long(std::string_view param, std::string_view message) {
  return make(400, kInvalidRequest, "context_length_exceeded", param, message);
}
Error invalid_api_key(std::string_view message) {
  return make(401, kInvalidRequest, "invalid_api_key", "", message);
}
Error not_the_gateway(std::string_view message) {
  return make(401, kInvalidRequest, "invalid_gateway_key", "sluice", message);
}
Error deadline_exceeded() {
  return make(504, "timeout_error", "deadline_exceeded", "",
              "the request's deadline passed while it waited for its turn");
}
Error model_not_found(std::string_view model) {
  return make(404, kInvalidRequest, "model_not_found", "model",
              fmt::format("the model '{}' does not exist; GET /v1/models lists what does", model));
}
Error not_found(std::string_view message) {
  return make(404, kInvalidRequest, "not_found", "", message);
}
Error method_not_allowed(std::string_view message, std::string_view allow) {
  Error error = make(405, kInvalidRequest, "method_not_allowed", "", message);
  error.allow = allow;
  return error;
}
Error server_error(std::string_view message) {
  return make(500, "server_error", "internal_error", "", message);
}
Error overloaded(std::string_view message, int64_t retry_after_seconds) {
  Error error = make(503, "overloaded_error", "overloaded", "", message);
  error.retry_after_seconds = retry_after_seconds;
  return error;
}

Error permission_denied(std::string_view message) {
  return make(403, kInvalidRequest, "permission_denied", "", message);
}
Error rate_limit_exceeded(std::string_view message) {
  return make(429, "rate_limit_error", "rate_limit_exceeded", "", message);
}
Error insufficient_quota(std::string_view message) {
  return make(429, "insufficient_quota", "insufficient_quota", "", message);
}
Error bad_upstream(std::string_view message) {
  return make(502, "overloaded_error", "bad_upstream", "", message);
}
Error upstream_timeout(std::string_view message) {
  return make(504, "server_error", "upstream_timeout", "", message);
}

Error from_status(int status, std::string_view message) {
  if (status == 405) return method_not_allowed(message, "GET, HEAD, POST, OPTIONS");
  for (const StatusRow& row : kStatusRows)
    if (row.status == status) return make(status, row.type, row.code, "", message);
  return make(status, status < 500 ? kInvalidRequest : "server_error", "", "", message);
}

std::string to_json(const Error& error) {
  JsonWriter json;
  const auto text_or_null = [&](std::string_view key, std::string_view text) {
    json.key(key);
    if (text.empty())
      json.null();
    else
      json.string(text);
  };
  json.begin_object().key("error").begin_object();
  json.key("message").string(error.message);
  json.key("type").string(error.type);
  text_or_null("param", error.param);
  text_or_null("code", error.code);
  json.end_object().end_object();
  return json.take();
}

}  // namespace sluice::api
