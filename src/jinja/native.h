// What a template can call that is not written in it: filters, tests, methods and functions. Each
// is one row of a table: its name, the code and its parameters as Python names them.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"
#include "jinja/value.h"

namespace sluice::jinja {

class Render;

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// The arguments of one call in the order of the parameters; null where none was given.
struct Bound {
  static constexpr int kParametersMax = 5;

  std::array<const Value*, kParametersMax> given{};
  const Arguments& all;

  const Value* operator[](int parameter) const { return given[static_cast<size_t>(parameter)]; }
};

struct Native {
  // `self` is the value before the bar of a filter, before `is`, or before the dot of a method.
  using Code = core::Result<Value> (*)(Render& render, const Value& self, const Bound& arguments);

  std::string_view name;
  Code code;  // null: the name exists in Python, but changes its object or is not offered here
  // A name that begins with '/' cannot be given by name; "*" takes what comes, unbound.
  std::array<std::string_view, Bound::kParametersMax> parameters{};
  int required = 0;

  core::Result<Value> call(Render& render, const Value& self, const Arguments& arguments) const;
};

// Null where jinja2 has no such filter, test or global function either.
const Native* find_filter(std::string_view name);
const Native* find_test(std::string_view name);
const Native* find_function(std::string_view name);

// Whose methods a value has.
enum class MethodOwner { kString, kList, kTuple, kDict, kReal, kLoop, kCycler };
constexpr size_t kMethodOwners = 7;
std::optional<MethodOwner> method_owner(const Value& value);

// Null where the owner has no such method.
const Native* find_method(MethodOwner owner, std::string_view name);

// What one name means on each kind of value.
struct Methods {
  std::array<const Native*, kMethodOwners> by_owner{};

  const Native* of(const Value& value) const;
};
Methods find_methods(std::string_view name);

// The tables, one file each.
std::span<const Native> text_filters();
std::span<const Native> sequence_filters();
std::span<const Native> selection_filters();
std::span<const Native> number_filters();
std::span<const Native> value_tests();
std::span<const Native> global_functions();
std::span<const Native> text_methods();
std::span<const Native> list_methods();
std::span<const Native> tuple_methods();
std::span<const Native> dict_methods();
std::span<const Native> real_methods();
std::span<const Native> loop_methods();
std::span<const Native> cycler_methods();

}  // namespace sluice::jinja
