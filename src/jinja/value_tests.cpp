// Tests: what may stand behind `is`.
#include "jinja/loop.h"
#include "jinja/operators.h"
#include "jinja/support.h"
#include "jinja/text.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

using core::Result;

namespace {

using Answer = Result<Value>;

Value yes_if(bool condition) {
  return Value::boolean(condition);
}

template <Kind kKind>
Answer is_kind(Render&, const Value& value, const Bound&) {
  return yes_if(value.is(kKind));
}

template <CompareOp kOp>
Answer compares(Render& render, const Value& value, const Bound& arguments) {
  return yes_if(TRY(compare(render, kOp, value, *arguments[0])));
}

template <bool kWanted>
Answer is_boolean(Render&, const Value& value, const Bound&) {
  return yes_if(value.is(Kind::kBoolean) && value.as_boolean() == kWanted);
}

Answer is_defined(Render&, const Value& value, const Bound&) {
  return yes_if(!value.is_undefined());
}

Answer is_number(Render&, const Value& value, const Bound&) {
  return yes_if(value.is_number());
}

Answer remainder_is(Render& render, const Value& value, const Value& divisor, int64_t wanted) {
  const Value rest = TRY(binary(render, BinaryOp::kModulo, value, divisor));
  return yes_if(TRY(equal(render, rest, Value::integer(wanted))));
}

Answer is_odd(Render& render, const Value& value, const Bound&) {
  return remainder_is(render, value, Value::integer(2), 1);
}
Answer is_even(Render& render, const Value& value, const Bound&) {
  return remainder_is(render, value, Value::integer(2), 0);
}
Answer is_divisible(Render& render, const Value& value, const Bound& arguments) {
  return remainder_is(render, value, *arguments[0], 0);
}

// Has a length and can be indexed.
Answer is_sequence(Render&, const Value& value, const Bound&) {
  if (value.is(Kind::kList)) return yes_if(value.as_list().kind <= ListKind::kRange);
  return yes_if(value.is_string() || length_of(value).has_value());
}

Answer is_iterable_value(Render&, const Value& value, const Bound&) {
  return yes_if(is_iterable(value));
}

Answer is_callable(Render&, const Value& value, const Bound&) {
  const bool callable = value.is(Kind::kObject) && value.as_object().is_callable();
  return yes_if(callable || value.is_undefined());
}

Answer is_lower_text(Render& render, const Value& value, const Bound&) {
  return yes_if(is_lower(TRY(to_text(render, value))));
}
Answer is_upper_text(Render& render, const Value& value, const Bound&) {
  return yes_if(is_upper(TRY(to_text(render, value))));
}

Answer is_escaped(Render&, const Value& value, const Bound&) {
  return yes_if(value.is_safe_string());
}

Answer is_same(Render&, const Value& value, const Bound& arguments) {
  const Value& other = *arguments[0];
  if (value.is_string() && other.is_string()) {
    return yes_if(value.as_string() == other.as_string());
  }
  return yes_if(value.same_as(other));
}

Answer is_filter(Render& render, const Value& value, const Bound&) {
  TRY(check_key(render, value));
  return yes_if(value.is_string() && find_filter(value.as_string()) != nullptr);
}
Answer is_test(Render& render, const Value& value, const Bound&) {
  TRY(check_key(render, value));
  return yes_if(value.is_string() && find_test(value.as_string()) != nullptr);
}

constexpr Native kTests[] = {
    {"!=", compares<CompareOp::kNotEqual>, {"/other"}, 1},
    {"<", compares<CompareOp::kLess>, {"/other"}, 1},
    {"<=", compares<CompareOp::kLessEqual>, {"/other"}, 1},
    {"==", compares<CompareOp::kEqual>, {"/other"}, 1},
    {">", compares<CompareOp::kGreater>, {"/other"}, 1},
    {">=", compares<CompareOp::kGreaterEqual>, {"/other"}, 1},
    {"boolean", is_kind<Kind::kBoolean>},
    {"callable", is_callable},
    {"defined", is_defined},
    {"divisibleby", is_divisible, {"num"}, 1},
    {"eq", compares<CompareOp::kEqual>, {"/other"}, 1},
    {"equalto", compares<CompareOp::kEqual>, {"/other"}, 1},
    {"escaped", is_escaped},
    {"even", is_even},
    {"false", is_boolean<false>},
    {"filter", is_filter},
    {"float", is_kind<Kind::kReal>},
    {"ge", compares<CompareOp::kGreaterEqual>, {"/other"}, 1},
    {"greaterthan", compares<CompareOp::kGreater>, {"/other"}, 1},
    {"gt", compares<CompareOp::kGreater>, {"/other"}, 1},
    {"in", compares<CompareOp::kIn>, {"seq"}, 1},
    {"integer", is_kind<Kind::kInteger>},
    {"iterable", is_iterable_value},
    {"le", compares<CompareOp::kLessEqual>, {"/other"}, 1},
    {"lessthan", compares<CompareOp::kLess>, {"/other"}, 1},
    {"lower", is_lower_text},
    {"lt", compares<CompareOp::kLess>, {"/other"}, 1},
    {"mapping", is_kind<Kind::kDict>},
    {"ne", compares<CompareOp::kNotEqual>, {"/other"}, 1},
    {"none", is_kind<Kind::kNone>},
    {"number", is_number},
    {"odd", is_odd},
    {"sameas", is_same, {"other"}, 1},
    {"sequence", is_sequence},
    {"string", is_kind<Kind::kString>},
    {"test", is_test},
    {"true", is_boolean<true>},
    {"undefined", is_kind<Kind::kUndefined>},
    {"upper", is_upper_text},
};

}  // namespace

std::span<const Native> value_tests() {
  return kTests;
}

}  // namespace sluice::jinja
