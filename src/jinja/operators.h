// Python's operators on values. Errors read as Python's TypeErrors do.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"
#include "jinja/ast.h"
#include "jinja/value.h"

namespace sluice::jinja {

class Render;

// Nested deeper than this, lists and dicts are refused: comparing and printing them recurses.
constexpr int kValueDepthMax = 200;

bool truth(const Value& value);

core::Result<Value> unary(UnaryOp op, const Value& operand);
core::Result<Value> binary(Render& render, BinaryOp op, const Value& left, const Value& right);

core::Result<bool> equal(Render& render, const Value& left, const Value& right);
// left < right
core::Result<bool> less(Render& render, const Value& left, const Value& right);
core::Result<bool> compare(Render& render, CompareOp op, const Value& left, const Value& right);
// An error for values that cannot be the key of a dict. Counts the work of looking for one.
core::Result<void> check_key(Render& render, const Value& key);
core::Result<bool> contains(Render& render, const Value& container, const Value& item);

// len(): nothing where Python has none.
std::optional<int64_t> length_of(const Value& value);
// The same, and charges for the text that is gone through: for what templates ask.
core::Result<std::optional<int64_t>> charged_length(Render& render, const Value& value);

// object.name: attributes and methods first, then items.
core::Result<Value> attribute(Render& render, const Value& object, const Attribute& node);
core::Result<Value> attribute(Render& render, const Value& object, const std::string& name);
// object[key]: items first, then attributes and methods. Undefined where there is none.
core::Result<Value> subscript(Render& render, const Value& object, const Value& key);
// object[start:stop:step]; none or undefined where left out.
struct SliceBounds {
  Value start, stop, step;
};
core::Result<Value> slice(Render& render, const Value& object, const SliceBounds& bounds);

// An integer argument: ints and booleans.
core::Result<int64_t> integer_of(const Value& value);
// A number as float: ints, booleans and floats.
core::Result<double> real_of(const Value& value);

// "'<' not supported between …": the error of an operator on undefined values says what is
// undefined.
core::Error undefined_error(const Value& undefined);
// An integer that does not fit into 64 bits.
core::Error overflow();

}  // namespace sluice::jinja
