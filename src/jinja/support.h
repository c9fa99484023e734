// What several filters and methods share.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "jinja/native.h"
#include "jinja/render.h"
#include "jinja/value.h"

namespace sluice::jinja {

// An integer argument, or what stands for it where it was not given.
core::Result<int64_t> integer_or(const Value* argument, int64_t otherwise);
// Given and true.
bool is_true(const Value* argument);
// Given and not none.
bool is_given(const Value* argument);
// A string argument; an error for other types.
core::Result<std::string_view> string_of(const Value& argument, std::string_view what);

// "user.address.0": where filters find what to look at in an item.
class AttributePath {
 public:
  // Of a string with dots, of an integer, or of nothing: the item itself.
  static core::Result<AttributePath> of(const Value* attribute);

  // `otherwise` (may be null) stands for undefined steps.
  core::Result<Value> get(Render& render, const Value& item, const Value* otherwise) const;

 private:
  std::vector<Value> parts_;
};

// Strings in lower case, the rest as it is.
Value ignore_case(const Value& value);

// Sorts by keys[i] of items[i]; equal ones keep their order, also when reversed.
enum class Order { kAscending, kDescending };
core::Result<std::vector<Value>> sort_by_keys(Render& render, std::vector<Value> items,
                                              std::vector<Value> keys, Order order);

// A generator over what `fill` appends; an error of fill shows when the generator gets there.
core::Result<Value> generator(Render& render,
                              const std::function<core::Result<void>(std::vector<Value>&)>& fill);

// str(value), which keeps the mark of safe strings: see Text::safe.
core::Result<Value> soft_text(Render& render, const Value& value);
// A string that is safe exactly if `like` is.
Value string_like(const Value& like, std::string text);

// str.replace; count < 0 replaces all.
core::Result<std::string> replaced(Render& render, std::string_view text, std::string_view old,
                                   std::string_view replacement, int64_t count);

// Python's int(text, base) and float(text); nothing where they fail.
core::Result<std::optional<int64_t>> parse_integer(std::string_view text, int64_t base);
std::optional<double> parse_real(std::string_view text);

}  // namespace sluice::jinja
