#include "api/gateway_fields.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "api/field_reader.h"

namespace sluice::api {
namespace {

constexpr double kMillisecondsMax = 1e9;
constexpr size_t kSessionBytesMax = 256;
// "session" names the conversation for gateways on the way and for logs; an engine finds its
// prefixes by their tokens.
constexpr std::string_view kKnown[] = {"target",     "priority",   "deadline_ms", "session",
                                       "cache_salt", "prompt_ids", "resume_ids",  "token_ids"};
constexpr std::string_view kKnownInTarget[] = {"ttft_ms", "tpot_ms", "total_ms"};

Parsed<std::monostate> refuse_unknown(const Json::Object& object, const FieldReader& fields,
                                      std::span<const std::string_view> known) {
  for (const auto& [key, unused] : object)
    if (std::find(known.begin(), known.end(), key) == known.end())
      return invalid_field(fields.path_of(key),
                           fmt::format("'{}' is not known", fields.path_of(key)));
  return std::monostate();
}

Parsed<std::optional<int64_t>> milliseconds_as_ns(const FieldReader& fields, std::string_view key) {
  const auto ms = TRY(fields.number(key, {.least = 0, .most = kMillisecondsMax}));
  if (!ms) return std::optional<int64_t>();
  return std::optional<int64_t>(std::llround(*ms * 1e6));
}

Parsed<GatewayFields::Target> parse_target(const FieldReader& fields) {
  GatewayFields::Target target;
  const Json* json = fields.find("target");
  if (json == nullptr) return target;
  const auto* object = json->as<Json::Object>();
  if (object == nullptr) return fields.wrong_type("target", "an object", *json);
  const FieldReader parts(*json, "sluice.target.");
  TRY(refuse_unknown(*object, parts, kKnownInTarget));
  target.ttft_ns = TRY(milliseconds_as_ns(parts, "ttft_ms")).value_or(0);
  target.tpot_ns = TRY(milliseconds_as_ns(parts, "tpot_ms")).value_or(0);
  target.total_ns = TRY(milliseconds_as_ns(parts, "total_ms")).value_or(0);
  return target;
}

}  // namespace

Parsed<std::optional<GatewayFields>> parse_gateway_fields(const Json& body) {
  const FieldReader outer(body);
  const Json* json = outer.find("sluice");
  if (json == nullptr) return std::optional<GatewayFields>();
  const auto* object = json->as<Json::Object>();
  if (object == nullptr) return outer.wrong_type("sluice", "an object", *json);
  const FieldReader fields(*json, "sluice.");
  TRY(refuse_unknown(*object, fields, kKnown));
  GatewayFields out;
  out.target = TRY(parse_target(fields));
  out.priority =
      TRY(fields.integer("priority", {.least = -kPriorityMax, .most = kPriorityMax})).value_or(0);
  out.deadline_ns = TRY(milliseconds_as_ns(fields, "deadline_ms"));
  if (TRY(fields.string("session")).value_or("").size() > kSessionBytesMax)
    return invalid_field("sluice.session",
                         fmt::format("'sluice.session' has more than {} bytes", kSessionBytesMax));
  out.cache_salt = TRY(fields.string("cache_salt")).value_or("");
  // More than a context holds are refused by whoever knows the model.
  constexpr ListLimits kAny = {.items_max = std::numeric_limits<int32_t>::max()};
  out.prompt_ids = TRY(fields.token_ids("prompt_ids", kAny));
  out.resume_ids = TRY(fields.token_ids("resume_ids", kAny));
  out.token_ids = TRY(fields.boolean("token_ids")).value_or(false);
  return std::optional<GatewayFields>(std::move(out));
}

}  // namespace sluice::api
