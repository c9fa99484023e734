#include "jinja/operators.h"

#include <cmath>

#include "jinja/format.h"
#include "jinja/loop.h"
#include "jinja/objects.h"
#include "jinja/render.h"
#include "jinja/text.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

using core::Error;
using core::Result;

namespace {

constexpr std::string_view kBinarySymbols[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};

Error division_by_zero() {
  return core::unsupported("division by zero");
}

bool is_integral(const Value& value) {
  return value.is(Kind::kBoolean) || value.is(Kind::kInteger);
}

int64_t whole(const Value& value) {
  return value.is(Kind::kBoolean) ? (value.as_boolean() ? 1 : 0) : value.as_integer();
}
double number(const Value& value) {
  return value.is(Kind::kReal) ? value.as_real() : static_cast<double>(whole(value));
}

Error operand_error(std::string_view symbol, const Value& left, const Value& right) {
  return core::unsupported("unsupported operand type(s) for {}: '{}' and '{}'", symbol,
                           type_name(left), type_name(right));
}

int64_t floor_divided(int64_t left, int64_t right) {
  const int64_t quotient = left / right;
  return left % right != 0 && (left < 0) != (right < 0) ? quotient - 1 : quotient;
}

Result<Value> real_power(double base, double exponent) {
  if (base == 0 && exponent < 0) return division_by_zero();
  if (base < 0 && exponent != std::floor(exponent)) {
    return core::unsupported("complex numbers are not supported");
  }
  const double power = std::pow(base, exponent);
  if (std::isinf(power) && std::isfinite(base) && std::isfinite(exponent)) {
    return core::unsupported("the result of ** is out of range");
  }
  return Value::real(power);
}

Result<Value> integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return division_by_zero();
    return real_power(static_cast<double>(base), static_cast<double>(exponent));
  }
  int64_t power = 1;
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(power, base, &power)) return overflow();
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) return overflow();
  }
  return Value::integer(power);
}

Result<Value> integer_binary(BinaryOp op, int64_t left, int64_t right) {
  int64_t result = 0;
  bool overflows = false;
  switch (op) {
    case BinaryOp::kAdd:
      overflows = __builtin_add_overflow(left, right, &result);
      break;
    case BinaryOp::kSubtract:
      overflows = __builtin_sub_overflow(left, right, &result);
      break;
    case BinaryOp::kMultiply:
      overflows = __builtin_mul_overflow(left, right, &result);
      break;
    case BinaryOp::kDivide:
      if (right == 0) return division_by_zero();
      return Value::real(static_cast<double>(left) / static_cast<double>(right));
    case BinaryOp::kFloorDivide:
    case BinaryOp::kModulo:
      if (right == 0) return division_by_zero();
      if (right == -1) {  // INT64_MIN / -1 traps
        overflows = op == BinaryOp::kFloorDivide && __builtin_sub_overflow(0, left, &result);
        break;
      }
      result = floor_divided(left, right);
      if (op == BinaryOp::kModulo) result = left - result * right;
      break;
    case BinaryOp::kPower:
      return integer_power(left, right);
  }
  if (overflows) return overflow();
  return Value::integer(result);
}

Result<Value> real_binary(BinaryOp op, double left, double right) {
  switch (op) {
    case BinaryOp::kAdd:
      return Value::real(left + right);
    case BinaryOp::kSubtract:
      return Value::real(left - right);
    case BinaryOp::kMultiply:
      return Value::real(left * right);
    case BinaryOp::kDivide:
      if (right == 0) return division_by_zero();
      return Value::real(left / right);
    case BinaryOp::kFloorDivide:
    case BinaryOp::kModulo: {
      if (right == 0) return division_by_zero();
      double rest = std::fmod(left, right);
      if (rest == 0) {
        rest = std::copysign(0.0, right);
      } else if ((right < 0) != (rest < 0)) {
        rest += right;
      }
      if (op == BinaryOp::kModulo) return Value::real(rest);
      const double quotient = (left - rest) / right;
      return Value::real(quotient == 0 ? std::copysign(0.0, left / right) : std::round(quotient));
    }
    case BinaryOp::kPower:
      return real_power(left, right);
  }
  return Value();
}

Result<Value> add_strings(Render& render, const Value& left, const Value& right) {
  TRY(render.charge_string(left.as_string().size() + right.as_string().size()));
  const bool safe = left.is_safe_string() || right.is_safe_string();
  if (!safe) return Value::string(left.as_string() + right.as_string());
  const auto side = [](const Value& value) {
    return value.is_safe_string() ? value.as_string() : escape_html(value.as_string());
  };
  return Value::safe_string(side(left) + side(right));
}

bool is_sequence(const Value& value) {
  return value.is(Kind::kList) && value.as_list().kind <= ListKind::kGroup;
}
ListKind plain_kind(const Value& value) {
  return value.as_list().kind == ListKind::kList ? ListKind::kList : ListKind::kTuple;
}

Result<Value> repeat(Render& render, const Value& value, int64_t times) {
  times = std::max<int64_t>(times, 0);
  if (value.is_string()) {
    const std::string& text = value.as_string();
    TRY(render.charge_string(text.size(), times));
    std::string repeated;
    repeated.reserve(text.size() * static_cast<size_t>(times));
    for (int64_t i = 0; i < times && !text.empty(); ++i) repeated += text;
    return value.is_safe_string() ? Value::safe_string(std::move(repeated))
                                  : Value::string(std::move(repeated));
  }
  const std::vector<Value>& items = value.as_list().items;
  TRY(render.charge_items(items.size(), times));
  std::vector<Value> repeated;
  for (int64_t i = 0; i < times && !items.empty(); ++i) {
    repeated.insert(repeated.end(), items.begin(), items.end());
  }
  return Value::list(List{.items = std::move(repeated), .kind = plain_kind(value)});
}

Result<bool> equal_lists(Render& render, const List& left, const List& right) {
  const auto family = [](ListKind kind) {
    return kind == ListKind::kGroup ? ListKind::kTuple : kind;
  };
  if (family(left.kind) != family(right.kind) || left.items.size() != right.items.size()) {
    return false;
  }
  for (size_t i = 0; i < left.items.size(); ++i) {
    if (!TRY(equal(render, left.items[i], right.items[i]))) return false;
  }
  return true;
}

Result<bool> equal_dicts(Render& render, const Dict& left, const Dict& right) {
  if (left.size() != right.size()) return false;
  for (const auto& [key, value] : left.entries()) {
    const Value* other = right.find(key);
    if (other == nullptr || !TRY(equal(render, value, *other))) return false;
  }
  return true;
}

Result<bool> less_lists(Render& render, const List& left, const List& right) {
  const size_t common = std::min(left.items.size(), right.items.size());
  for (size_t i = 0; i < common; ++i) {
    if (TRY(equal(render, left.items[i], right.items[i]))) continue;
    return less(render, left.items[i], right.items[i]);
  }
  return left.items.size() < right.items.size();
}

}  // namespace

Error overflow() {
  return core::unsupported("the integer result does not fit into 64 bits");
}

Error undefined_error(const Value& undefined) {
  return core::unsupported("{}", undefined.undefined_message());
}

bool truth(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBoolean:
      return value.as_boolean();
    case Kind::kInteger:
      return value.as_integer() != 0;
    case Kind::kReal:
      return value.as_real() != 0;
    case Kind::kString:
      return !value.as_string().empty();
    case Kind::kList:
      return !value.as_list().items.empty();
    case Kind::kDict:
      return value.as_dict().size() > 0;
    case Kind::kObject:
      return true;
  }
  return true;
}

Result<Value> unary(UnaryOp op, const Value& operand) {
  if (op == UnaryOp::kLogicalNot) return Value::boolean(!truth(operand));
  if (operand.is_undefined()) return undefined_error(operand);
  if (operand.is(Kind::kReal)) {
    return Value::real(op == UnaryOp::kNegative ? -operand.as_real() : operand.as_real());
  }
  if (!is_integral(operand)) {
    return core::unsupported("bad operand type for unary {}: '{}'",
                             op == UnaryOp::kNegative ? "-" : "+", type_name(operand));
  }
  if (op == UnaryOp::kPositive) return Value::integer(whole(operand));
  return integer_binary(BinaryOp::kSubtract, 0, whole(operand));
}

Result<Value> binary(Render& render, BinaryOp op, const Value& left, const Value& right) {
  if (is_integral(left) && is_integral(right)) {
    return integer_binary(op, whole(left), whole(right));
  }
  if (left.is_number() && right.is_number()) return real_binary(op, number(left), number(right));
  if (op == BinaryOp::kModulo && left.is_string()) return format_percent(render, left, right);
  if (left.is_undefined()) return undefined_error(left);
  if (right.is_undefined()) return undefined_error(right);
  if (op == BinaryOp::kAdd) {
    if (left.is_string() && right.is_string()) return add_strings(render, left, right);
    if (is_sequence(left) && is_sequence(right) && plain_kind(left) == plain_kind(right)) {
      TRY(render.charge_items(left.as_list().items.size() + right.as_list().items.size(), 1));
      std::vector<Value> items = left.as_list().items;
      const std::vector<Value>& more = right.as_list().items;
      items.insert(items.end(), more.begin(), more.end());
      return Value::list(List{.items = std::move(items), .kind = plain_kind(left)});
    }
  }
  if (op == BinaryOp::kMultiply) {
    const auto repeats = [](const Value& value) { return value.is_string() || is_sequence(value); };
    if (repeats(left) && is_integral(right)) return repeat(render, left, whole(right));
    if (repeats(right) && is_integral(left)) return repeat(render, right, whole(left));
  }
  return operand_error(kBinarySymbols[static_cast<size_t>(op)], left, right);
}

Result<bool> equal(Render& render, const Value& left, const Value& right) {
  TRY(render.charge(1));
  if (is_integral(left) && is_integral(right)) return whole(left) == whole(right);
  if (left.is_number() && right.is_number()) return number(left) == number(right);
  if (left.kind() != right.kind()) return false;
  switch (left.kind()) {
    case Kind::kString:
      TRY(render.charge_bytes(std::min(left.as_string().size(), right.as_string().size())));
      return left.as_string() == right.as_string();
    case Kind::kList: {
      if (left.same_as(right)) return true;
      const Render::Depth depth(render);
      TRY(depth.check());
      return equal_lists(render, left.as_list(), right.as_list());
    }
    case Kind::kDict: {
      if (left.same_as(right)) return true;
      const Render::Depth depth(render);
      TRY(depth.check());
      return equal_dicts(render, left.as_dict(), right.as_dict());
    }
    default:
      return left.same_as(right);
  }
}

Result<bool> less(Render& render, const Value& left, const Value& right) {
  TRY(render.charge(1));
  if (is_integral(left) && is_integral(right)) return whole(left) < whole(right);
  if (left.is_number() && right.is_number()) return number(left) < number(right);
  if (left.is_string() && right.is_string()) {
    // The order of UTF-8 bytes is the order of code points.
    TRY(render.charge_bytes(std::min(left.as_string().size(), right.as_string().size())));
    return left.as_string() < right.as_string();
  }
  if (left.is_undefined()) return undefined_error(left);
  if (right.is_undefined()) return undefined_error(right);
  if (is_sequence(left) && is_sequence(right) && plain_kind(left) == plain_kind(right)) {
    const Render::Depth depth(render);
    TRY(depth.check());
    return less_lists(render, left.as_list(), right.as_list());
  }
  return core::unsupported("'<' not supported between instances of '{}' and '{}'", type_name(left),
                           type_name(right));
}

Result<bool> compare(Render& render, CompareOp op, const Value& left, const Value& right) {
  switch (op) {
    case CompareOp::kEqual:
      return equal(render, left, right);
    case CompareOp::kNotEqual:
      return !TRY(equal(render, left, right));
    case CompareOp::kLess:
      return less(render, left, right);
    case CompareOp::kGreater:
      return less(render, right, left);
    case CompareOp::kLessEqual:
    case CompareOp::kGreaterEqual: {
      const bool swapped = op == CompareOp::kGreaterEqual;
      const Value& low = swapped ? right : left;
      const Value& high = swapped ? left : right;
      if (TRY(less(render, low, high))) return true;
      return equal(render, low, high);
    }
    case CompareOp::kIn:
      return contains(render, right, left);
    case CompareOp::kNotIn:
      return !TRY(contains(render, right, left));
  }
  return false;
}

Result<void> check_key(Render& render, const Value& key) {
  if (!Dict::is_hashable(key)) return core::unsupported("unhashable type: '{}'", type_name(key));
  if (key.is_string()) return render.charge_bytes(key.as_string().size());
  return key.is(Kind::kList) ? render.charge_items(key.as_list().items.size()) : Result<void>();
}

Result<bool> contains(Render& render, const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      return core::unsupported("'in <string>' requires string as left operand, not {}",
                               type_name(item));
    }
    TRY(render.charge_search(container.as_string(), item.as_string()));
    return container.as_string().find(item.as_string()) != std::string::npos;
  }
  if (container.is(Kind::kDict)) {
    TRY(check_key(render, item));
    return container.as_dict().find(item) != nullptr;
  }
  if (!is_iterable(container)) {
    return core::unsupported("argument of type '{}' is not iterable", type_name(container));
  }
  Iterator iterator = TRY(Iterator::over(container));
  Value candidate;
  while (TRY(iterator.next(candidate))) {
    if (TRY(equal(render, candidate, item))) return true;
  }
  return false;
}

Result<std::optional<int64_t>> charged_length(Render& render, const Value& value) {
  if (value.is_string()) TRY(render.charge_bytes(std::ssize(value.as_string())));
  return length_of(value);
}

std::optional<int64_t> length_of(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return code_points(value.as_string());
    case Kind::kList:
      return static_cast<int64_t>(value.as_list().items.size());
    case Kind::kDict:
      return value.as_dict().size();
    default:
      return std::nullopt;
  }
}

Result<int64_t> integer_of(const Value& value) {
  if (is_integral(value)) return whole(value);
  if (value.is_undefined()) return undefined_error(value);
  return core::unsupported("'{}' object cannot be interpreted as an integer", type_name(value));
}

Result<double> real_of(const Value& value) {
  if (value.is_number()) return number(value);
  if (value.is_undefined()) return undefined_error(value);
  return core::unsupported("must be a real number, not {}", type_name(value));
}

}  // namespace sluice::jinja
