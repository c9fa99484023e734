// A document (JSON, TOML) as values that remember where they stood, and what is wrong with it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/result.h"

namespace sluice::contract {

struct Member;

struct Value {
  using Array = std::vector<Value>;
  using Object = std::vector<Member>;  // in the order of the text, no name twice

  // int64_t where the number is written as an integer and fits, else double.
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> content;
  int32_t line = 0;  // of the text, from 1; 0: unknown

  template <typename T>
  const T* as() const {
    return std::get_if<T>(&content);
  }
  const Value* find(std::string_view name) const;  // null: no object, or no such member
  std::string_view type_name() const;              // "null", "boolean", "integer", "string", …
};

struct Member {
  std::string name;
  Value value;
};

// Strict JSON: UTF-8, no name twice in an object, at most 64 levels. Lines are not known.
core::Result<Value> parse_json_value(std::string_view text);

// The line of "keys[3].limits" in `root`, or of the nearest value around it that has one; else 0.
int32_t line_of(const Value& root, std::string_view path);

// One thing that is wrong. path: "keys[3].limits.tokens_per_day", "" the whole.
struct Problem {
  std::string path;
  std::string message;
  bool operator==(const Problem&) const = default;
};
using Problems = std::vector<Problem>;

// "path: message" in a line each; the first 50, then how many more.
std::string to_text(const Problems& problems);

}  // namespace sluice::contract
