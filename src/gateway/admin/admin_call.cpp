#include "gateway/admin/admin_call.h"

#include <charconv>

#include <fmt/format.h>

#include "api/json_writer.h"
#include "gateway/admin/snapshot_objects.h"

namespace sluice::gateway {
namespace {

constexpr size_t kEtagDigits = 16;
constexpr std::string_view kJsonType = "application/json";

std::string error_json(const AdminError& error) {
  api::JsonWriter out;
  out.begin_object().key("error").begin_object();
  out.key("message").string(error.message);
  out.key("code").string(error.code);
  out.key("problems").begin_array();
  for (const auto& [path, message] : error.problems) {
    out.begin_object();
    out.key("path").string(path);
    out.key("message").string(message);
    out.end_object();
  }
  out.end_array().end_object().end_object();
  return out.take();
}

AdminError to_admin_error(const ChangeError& error) {
  using Code = ChangeError::Code;
  const auto with = [&](int status, std::string_view code) {
    return AdminError{status, code, error.message, error.problems};
  };
  switch (error.code) {
    case Code::kInvalid:
      return with(400, "invalid");
    case Code::kNotFound:
      return with(404, "not_found");
    case Code::kExists:
      return with(409, "exists");
    case Code::kConflict:
      return with(409, "version_conflict");
    case Code::kOwnedByFile:
      return with(409, "owned_by_file");
    case Code::kNotRecorded:
      return with(503, "not_recorded");
    case Code::kNotPersisted:
      return with(500, "not_persisted");
  }
  return with(500, "unknown");
}

std::string_view unquoted(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"')
    etag = etag.substr(1, etag.size() - 2);
  return etag;
}

}  // namespace

net::Response to_response(const AdminError& error) {
  net::Response response{.status = error.status,
                         .headers = {{"Content-Type", std::string(kJsonType)}},
                         .body = error_json(error)};
  if (!error.allow.empty()) response.headers.push_back({"Allow", error.allow});
  if (error.status == 401) response.headers.push_back({"WWW-Authenticate", "Bearer"});
  return response;
}

net::Response admin_refusal(int status, std::string_view message) {
  return to_response({status, "bad_request", std::string(message)});
}

void reply(const AdminCall& call, const AdminError& error) {
  net::Responder responder = call.responder;
  responder.send(to_response(error));
}

void reply(const AdminCall& call, const ChangeError& error) {
  reply(call, to_admin_error(error));
}

void reply_json(const net::Responder& responder, int status, std::string_view body,
                std::string_view etag) {
  const std::string quoted = fmt::format("\"{}\"", etag);
  const net::Header headers[] = {
      {"Content-Type", kJsonType}, {"Cache-Control", "no-store"}, {"ETag", quoted}};
  net::Responder(responder).send(status, std::span(headers).first(etag.empty() ? 2 : 3), body);
}

std::optional<contract::Value> read_body(const AdminCall& call) {
  auto body = contract::parse_json_value(call.request.body);
  if (!body.ok()) {
    reply(call, AdminError{400, "invalid", "the body: " + body.error().message});
    return std::nullopt;
  }
  if (body->as<contract::Value::Object>() == nullptr) {
    reply(call, AdminError{400, "invalid",
                           fmt::format("the body is {}, must be an object", body->type_name())});
    return std::nullopt;
  }
  return std::move(body).value();
}

std::optional<contract::Value> take_member(contract::Value* object, std::string_view name) {
  auto& members = std::get<contract::Value::Object>(object->content);
  const auto found = std::find_if(members.begin(), members.end(),
                                  [&](const auto& member) { return member.name == name; });
  if (found == members.end()) return std::nullopt;
  contract::Value value = std::move(found->value);
  members.erase(found);
  return value;
}

std::optional<int64_t> read_parameter(const AdminCall& call, const IntegerParameter& parameter) {
  const auto text = net::query_value(call.request.query, parameter.name);
  if (!text) return parameter.otherwise;
  int64_t value = 0;
  const auto [end, fault] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (fault == std::errc() && end == text->data() + text->size() && value >= parameter.min &&
      value <= parameter.max)
    return value;
  reply(call, AdminError{400, "invalid",
                         fmt::format("{}: '{}' is no integer from {} to {}", parameter.name, *text,
                                     parameter.min, parameter.max)});
  return std::nullopt;
}

std::string text_parameter(const AdminCall& call, std::string_view name) {
  return net::query_value(call.request.query, name).value_or("");
}

std::string etag_of(std::string_view canonical_json) {
  return sha256_hex(canonical_json).substr(0, kEtagDigits);
}

bool refuses_version(const AdminCall& call, std::string_view etag,
                     const std::optional<contract::Value>& body_etag) {
  std::string_view asked = unquoted(call.request.header("if-match").value_or("*"));
  if (asked == "*" && body_etag) {
    const auto* text = body_etag->as<std::string>();
    asked = text == nullptr ? std::string_view("?") : std::string_view(*text);
  }
  if (asked == "*" || asked == etag) return false;
  reply(call, AdminError{409, "version_conflict",
                         fmt::format("version {} is in force, not {}", etag, asked)});
  return true;
}

}  // namespace sluice::gateway
