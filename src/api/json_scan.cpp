#include "api/json_scan.h"

#include <charconv>
#include <cstring>

namespace sluice::api {

size_t skip_blanks(std::string_view json, size_t at) {
  while (at < json.size() && is_json_blank(json[at])) ++at;
  return at;
}

size_t string_end(std::string_view json, size_t at) {
  size_t from = at + 1;
  while (from < json.size()) {
    const void* found = std::memchr(json.data() + from, '"', json.size() - from);
    if (found == nullptr) break;
    const auto quote = static_cast<size_t>(static_cast<const char*>(found) - json.data());
    size_t backslashes = 0;
    while (quote - backslashes > at + 1 && json[quote - backslashes - 1] == '\\') ++backslashes;
    if (backslashes % 2 == 0) return quote + 1;
    from = quote + 1;
  }
  return json.size();
}

size_t value_end(std::string_view json, size_t at) {
  int64_t depth = 0;
  while (at < json.size()) {
    const char c = json[at];
    if (c == '"') {
      at = string_end(json, at);
      if (depth == 0) return at;
      continue;
    }
    if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      if (depth == 0) return at;  // of what this value is in
      if (--depth == 0) return at + 1;
    } else if (depth == 0 && (c == ',' || is_json_blank(c))) {
      return at;
    }
    ++at;
  }
  return at;
}

std::optional<std::string_view> find_member(std::string_view object, std::string_view name) {
  std::optional<std::string_view> found;
  for_each_member(object, [&](std::string_view key, std::string_view value) {
    if (unquoted(key) == name) found = value;
    return !found;
  });
  return found;
}

std::optional<int64_t> read_count(std::string_view text) {
  constexpr int64_t kMost = int64_t{1} << 53;
  int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || count < 0 || count > kMost) return std::nullopt;
  return count;
}

std::string_view unquoted(std::string_view value) {
  if (value.size() < 2 || value.front() != '"' || value.back() != '"') return {};
  return value.substr(1, value.size() - 2);
}

}  // namespace sluice::api
