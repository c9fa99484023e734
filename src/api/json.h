// A JSON document as values, read strictly: UTF-8, no duplicate keys, bounded depth.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/error.h"

namespace sluice::api {

struct JsonMember;

struct Json {
  using Array = std::vector<Json>;
  using Object = std::vector<JsonMember>;  // in the order of the text

  // int64_t where the number is written without fraction or exponent and fits, else double.
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value;

  template <typename T>
  const T* as() const {
    return std::get_if<T>(&value);
  }
  bool is_null() const { return value.index() == 0; }
  const Json* find(std::string_view key) const;  // null where this is no object or has no such key
  std::string_view type_name() const;            // "null", "boolean", "integer", "number", …
};

struct JsonMember {
  std::string key;
  Json value;
};

inline constexpr int64_t kJsonDepthMax = 64;
inline constexpr int64_t kJsonValuesMax = 1 << 20;  // of a document, containers too

// Refuses (400): text that is no JSON (RFC 8259), NaN, infinities and numbers beyond double,
// invalid UTF-8, deeper nesting than kJsonDepthMax, more values than kJsonValuesMax (32 MiB of them
// would take more than 1 GiB), and an object that has a key twice: two parsers
// on the way could each believe another value, which is how limits are evaded.
Parsed<Json> parse_json(std::string_view text);
// The body of a request; refuses what is no object too.
Parsed<Json> parse_json_object(std::string_view body);

void append_json(std::string* out, const Json& json);

}  // namespace sluice::api
