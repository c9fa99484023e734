#include "api/json.h"

#include <simdjson.h>

#include <algorithm>

#include <fmt/format.h>

#include "api/json_writer.h"

namespace sluice::api {
namespace {

// The key that occurs twice, or an empty pointer.
const std::string* duplicate_key(const Json::Object& object) {
  std::vector<const std::string*> keys;
  keys.reserve(object.size());
  for (const auto& [key, unused] : object) keys.push_back(&key);
  std::sort(keys.begin(), keys.end(), [](auto* a, auto* b) { return *a < *b; });
  const auto twice =
      std::adjacent_find(keys.begin(), keys.end(), [](auto* a, auto* b) { return *a == *b; });
  return twice == keys.end() ? nullptr : *twice;
}

Error too_many_values() {
  return invalid_json(fmt::format("the body has more than {} JSON values", kJsonValuesMax));
}

// Commas and opening brackets outside of strings, whichever are more: a valid document has at least
// so many values. It keeps the parser from making room for many more than it may convert.
int64_t least_values(std::string_view text) {
  int64_t commas = 0;
  int64_t openings = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"')
      in_string = !in_string;
    else if (c == '\\')
      ++i;  // only a string has one
    else if (!in_string)
      commas += c == ',', openings += c == '[' || c == '{';
  }
  return std::max(commas, openings);
}

// `values_left`: of kJsonValuesMax.
Parsed<Json> convert(simdjson::dom::element element, int64_t* values_left) {
  using simdjson::dom::element_type;
  if (--*values_left < 0) return too_many_values();
  switch (element.type()) {
    case element_type::NULL_VALUE:
      return Json{};
    case element_type::BOOL:
      return Json{bool{element}};
    case element_type::INT64:
      return Json{int64_t{element}};
    case element_type::UINT64:
      return Json{static_cast<double>(uint64_t{element})};
    case element_type::DOUBLE:
      return Json{double{element}};
    case element_type::STRING:
      return Json{std::string(std::string_view{element})};
    case element_type::ARRAY: {
      const simdjson::dom::array items(element);
      Json::Array array;
      array.reserve(std::min(items.size(), static_cast<size_t>(*values_left)));
      for (const auto item : items) array.push_back(TRY(convert(item, values_left)));
      return Json{std::move(array)};
    }
    case element_type::OBJECT: {
      Json::Object object;
      for (const auto& [key, item] : simdjson::dom::object(element)) {
        Json value =
            TRY(convert(item, values_left));  // alone: a return from within an expression leaks it
        object.push_back({std::string(key), std::move(value)});
      }
      if (const std::string* key = duplicate_key(object))
        return invalid_json(fmt::format("the key '{}' occurs twice in one object", *key));
      return Json{std::move(object)};
    }
  }
  return invalid_json("a value of an unknown type");
}

std::string describe(simdjson::error_code code) {
  switch (code) {
    case simdjson::UTF8_ERROR:
      return "the body is not valid UTF-8";
    case simdjson::EMPTY:
      return "the body is empty; a JSON object is expected";
    case simdjson::DEPTH_ERROR:
      return fmt::format("the body nests deeper than {} levels", kJsonDepthMax);
    case simdjson::NUMBER_ERROR:
      return "the body is not valid JSON: a number that is malformed or out of range";
    default:
      return fmt::format("the body is not valid JSON: {}", simdjson::error_message(code));
  }
}

}  // namespace

const Json* Json::find(std::string_view key) const {
  const Object* object = as<Object>();
  if (object == nullptr) return nullptr;
  for (const auto& [name, item] : *object)
    if (name == key) return &item;
  return nullptr;
}

std::string_view Json::type_name() const {
  constexpr std::string_view kNames[] = {"null",   "boolean", "integer", "number",
                                         "string", "array",   "object"};
  return kNames[value.index()];
}

Parsed<Json> parse_json(std::string_view text) {
  if (std::ssize(text) > kJsonValuesMax && least_values(text) > kJsonValuesMax)
    return too_many_values();
  simdjson::dom::parser parser;
  const auto capacity = std::max<size_t>(text.size(), 64);
  if (const auto code = parser.allocate(capacity, kJsonDepthMax))
    return invalid_json(describe(code));
  simdjson::padded_string padded(text);
  simdjson::dom::element root;
  if (const auto code = parser.parse(padded).get(root)) return invalid_json(describe(code));
  padded = simdjson::padded_string();  // the parser has copied what it needs of it
  int64_t values_left = kJsonValuesMax;
  return convert(root, &values_left);
}

Parsed<Json> parse_json_object(std::string_view body) {
  Json json = TRY(parse_json(body));
  if (json.as<Json::Object>() == nullptr)
    return invalid_json(fmt::format("the body must be a JSON object, found: {}", json.type_name()));
  return json;
}

void append_json(std::string* out, const Json& json) {
  JsonWriter scalar;
  if (const auto* array = json.as<Json::Array>()) {
    *out += '[';
    for (const Json& item : *array) {
      if (out->back() != '[') *out += ',';
      append_json(out, item);
    }
    *out += ']';
  } else if (const auto* object = json.as<Json::Object>()) {
    *out += '{';
    bool comma = false;
    for (const auto& [key, item] : *object) {
      if (comma) *out += ',';
      comma = true;
      append_json_string(out, key);
      *out += ':';
      append_json(out, item);
    }
    *out += '}';
  } else if (const auto* text = json.as<std::string>()) {
    append_json_string(out, *text);
  } else if (const auto* integer = json.as<int64_t>()) {
    *out += scalar.integer(*integer).take();
  } else if (const auto* number = json.as<double>()) {
    *out += scalar.number(*number).take();
  } else if (const auto* boolean = json.as<bool>()) {
    *out += *boolean ? "true" : "false";
  } else {
    *out += "null";
  }
}

}  // namespace sluice::api
