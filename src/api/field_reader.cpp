#include "api/field_reader.h"

#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace sluice::api {
namespace {

// A double without fraction reads as an integer; beyond 2^53 it may not be what was written.
std::optional<int64_t> as_integer(const Json& json) {
  if (const auto* integer = json.as<int64_t>()) return *integer;
  const auto* number = json.as<double>();
  constexpr double kExactMax = 9007199254740992.0;
  if (number == nullptr || std::trunc(*number) != *number || std::fabs(*number) > kExactMax)
    return std::nullopt;
  return static_cast<int64_t>(*number);
}

std::optional<double> as_number(const Json& json) {
  if (const auto* integer = json.as<int64_t>()) return static_cast<double>(*integer);
  if (const auto* number = json.as<double>()) return *number;
  return std::nullopt;
}

}  // namespace

FieldReader::FieldReader(const Json& object, std::string path)
    : object_(object), path_(std::move(path)) {}

const Json* FieldReader::find(std::string_view key) const {
  const Json* json = object_.find(key);
  return json == nullptr || json->is_null() ? nullptr : json;
}

Error FieldReader::wrong_type(std::string_view key, std::string_view expected,
                              const Json& found) const {
  const std::string path = path_of(key);
  return invalid_field(
      path, fmt::format("'{}' must be {}, found: {}", path, expected, found.type_name()));
}

Parsed<std::optional<bool>> FieldReader::boolean(std::string_view key) const {
  const Json* json = find(key);
  if (json == nullptr) return std::optional<bool>();
  const bool* value = json->as<bool>();
  if (value == nullptr) return wrong_type(key, "a boolean", *json);
  return std::optional<bool>(*value);
}

Parsed<std::optional<int64_t>> FieldReader::integer(std::string_view key,
                                                    IntegerRange range) const {
  const Json* json = find(key);
  if (json == nullptr) return std::optional<int64_t>();
  const std::string path = path_of(key);
  const std::optional<double> number = as_number(*json);
  if (!number) return wrong_type(key, "an integer", *json);
  const std::optional<int64_t> value = as_integer(*json);
  if (!value && std::fabs(*number) < 1e15) return wrong_type(key, "an integer", *json);
  if (!value || *value < range.least || *value > range.most)
    return invalid_field(path, fmt::format("'{}' must be from {} to {}, found: {}", path,
                                           range.least, range.most, *number));
  return value;
}

Parsed<double> to_number(const Json& json, const std::string& path, NumberRange range) {
  const std::optional<double> value = as_number(json);
  if (!value)
    return invalid_field(path,
                         fmt::format("'{}' must be a number, found: {}", path, json.type_name()));
  const bool too_small = range.least_excluded ? *value <= range.least : *value < range.least;
  if (too_small || *value > range.most)
    return invalid_field(path, fmt::format("'{}' must be {} {} and at most {}, found: {}", path,
                                           range.least_excluded ? "above" : "at least", range.least,
                                           range.most, *value));
  return *value;
}

Parsed<std::optional<double>> FieldReader::number(std::string_view key, NumberRange range) const {
  const Json* json = find(key);
  if (json == nullptr) return std::optional<double>();
  return std::optional<double>(TRY(to_number(*json, path_of(key), range)));
}

Parsed<std::optional<std::string>> FieldReader::string(std::string_view key) const {
  const Json* json = find(key);
  if (json == nullptr) return std::optional<std::string>();
  const auto* value = json->as<std::string>();
  if (value == nullptr) return wrong_type(key, "a string", *json);
  return std::optional<std::string>(*value);
}

Parsed<std::vector<std::string>> FieldReader::strings(std::string_view key,
                                                      ListLimits limits) const {
  const Json* json = find(key);
  std::vector<std::string> values;
  if (json == nullptr) return values;
  const std::string path = path_of(key);
  const auto add = [&](const Json& item) -> bool {
    const auto* text = item.as<std::string>();
    if (text != nullptr) values.push_back(*text);
    return text != nullptr;
  };
  if (const auto* array = json->as<Json::Array>()) {
    if (static_cast<int64_t>(array->size()) > limits.items_max)
      return invalid_field(path, fmt::format("'{}' has {} items, at most {} are allowed", path,
                                             array->size(), limits.items_max));
    for (const Json& item : *array)
      if (!add(item)) return wrong_type(key, "a string or a list of strings", item);
  } else if (!add(*json)) {
    return wrong_type(key, "a string or a list of strings", *json);
  }
  for (const std::string& value : values) {
    if (value.empty()) return invalid_field(path, fmt::format("'{}' holds an empty string", path));
    if (static_cast<int64_t>(value.size()) > limits.item_bytes_max)
      return invalid_field(path, fmt::format("'{}' holds a string of {} bytes, at most {} are "
                                             "allowed",
                                             path, value.size(), limits.item_bytes_max));
  }
  return values;
}

Parsed<std::vector<int32_t>> FieldReader::token_ids(std::string_view key, ListLimits limits) const {
  const Json* json = find(key);
  if (json == nullptr) return std::vector<int32_t>();
  const auto* array = json->as<Json::Array>();
  if (array == nullptr) return wrong_type(key, "a list of token ids", *json);
  const std::string path = path_of(key);
  if (static_cast<int64_t>(array->size()) > limits.items_max)
    return invalid_field(path, fmt::format("'{}' has {} items, at most {} are allowed", path,
                                           array->size(), limits.items_max));
  return to_token_ids(*array, path);
}

Parsed<std::vector<int32_t>> to_token_ids(const Json::Array& array, std::string_view path) {
  std::vector<int32_t> ids;
  ids.reserve(array.size());
  for (const Json& item : array) {
    const std::optional<int64_t> id = as_integer(item);
    if (!id || *id < 0 || *id > std::numeric_limits<int32_t>::max()) {
      const std::optional<double> number = as_number(item);
      return invalid_field(
          path, fmt::format("'{}[{}]' is no token id: an integer from 0 is "
                            "expected, found: {}",
                            path, ids.size(),
                            number ? fmt::format("{}", *number) : std::string(item.type_name())));
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

Parsed<std::monostate> refuse_unsupported(const FieldReader& fields,
                                          std::span<const UnsupportedField> table) {
  for (const UnsupportedField& field : table) {
    const Json* json = fields.find(field.key);
    if (json == nullptr || field.asks_for_nothing(*json)) continue;
    const std::string path = fields.path_of(field.key);
    return unsupported_field(path, fmt::format("'{}': {} not supported", path, field.what));
  }
  return std::monostate();
}

bool is_empty_list_or_object(const Json& value) {
  if (const auto* array = value.as<Json::Array>()) return array->empty();
  if (const auto* object = value.as<Json::Object>()) return object->empty();
  return false;
}
bool is_false(const Json& value) {
  const bool* boolean = value.as<bool>();
  return boolean != nullptr && !*boolean;
}
bool is_zero(const Json& value) {
  return as_number(value) == 0.0;
}
bool is_one(const Json& value) {
  return as_number(value) == 1.0;
}
bool is_minus_one(const Json& value) {
  return as_number(value) == -1.0;
}
bool is_not_positive(const Json& value) {
  return as_number(value).value_or(1) <= 0;
}
bool is_none_text(const Json& value) {
  const auto* text = value.as<std::string>();
  return text != nullptr && *text == "none";
}
bool is_text_format(const Json& value) {
  const Json* type = value.find("type");
  const auto* text = type == nullptr ? nullptr : type->as<std::string>();
  return text != nullptr && *text == "text";
}
bool is_text_modality(const Json& value) {
  const auto* array = value.as<Json::Array>();
  if (array == nullptr) return false;
  for (const Json& item : *array) {
    const auto* text = item.as<std::string>();
    if (text == nullptr || *text != "text") return false;
  }
  return true;
}
bool never(const Json&) {
  return false;
}

}  // namespace sluice::api
