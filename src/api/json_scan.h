// Walks over JSON text without parsing it: where values end, which members an object has. For
// answers of an upstream, of which a proxy needs a few numbers; total over foreign bytes (what is
// no JSON gives nonsense or nothing, never a read outside).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice::api {

constexpr bool is_json_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

size_t skip_blanks(std::string_view json, size_t at);

// One behind the string whose opening quote is at `at`; json.size() where it does not end.
size_t string_end(std::string_view json, size_t at);

// One behind the value that begins at `at`.
size_t value_end(std::string_view json, size_t at);

// Calls each(key, value) with the texts of each member of the object that `object` begins with, the
// key with its quotes, until it returns false.
template <typename Each>
void for_each_member(std::string_view object, const Each& each) {
  if (object.empty() || object.front() != '{') return;
  size_t at = skip_blanks(object, 1);
  while (at < object.size() && object[at] == '"') {
    const size_t key_end = string_end(object, at);
    const std::string_view key = object.substr(at, key_end - at);
    at = skip_blanks(object, key_end);
    if (at >= object.size() || object[at] != ':') return;
    at = skip_blanks(object, at + 1);
    const size_t end = value_end(object, at);
    if (!each(key, object.substr(at, end - at))) return;
    at = skip_blanks(object, end);
    if (at >= object.size() || object[at] != ',') return;
    at = skip_blanks(object, at + 1);
  }
}

// The member whose name is spelled so, of the object that `object` begins with, as text;
// nullopt: none, or no object. The first of several.
std::optional<std::string_view> find_member(std::string_view object, std::string_view name);

// Calls each(value text) for the elements of the array that `array` begins with, until it returns
// false.
template <typename Each>
void for_each_element(std::string_view array, const Each& each) {
  if (array.empty() || array.front() != '[') return;
  size_t at = skip_blanks(array, 1);
  while (at < array.size() && array[at] != ']') {
    const size_t end = value_end(array, at);
    if (end == at || !each(array.substr(at, end - at))) return;
    at = skip_blanks(array, end);
    if (at >= array.size() || array[at] != ',') return;
    at = skip_blanks(array, at + 1);
  }
}

// The number in front of `text`, cut to whole; nullopt: none, negative or over 2^53.
std::optional<int64_t> read_count(std::string_view text);

// Without the quotes, escapes left as they are; "" where it is no string.
std::string_view unquoted(std::string_view value);

}  // namespace sluice::api
