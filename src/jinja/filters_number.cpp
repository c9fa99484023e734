// Filters on numbers.
#include <cmath>
#include <cstdlib>

#include "jinja/number_format.h"
#include "jinja/operators.h"
#include "jinja/support.h"
#include "jinja/text.h"

namespace sluice::jinja {

using core::Result;

namespace {

Result<Value> absolute(Render& render, const Value& input, const Bound&) {
  if (input.is_undefined()) return undefined_error(input);
  if (!input.is_number()) {
    return core::unsupported("bad operand type for abs(): '{}'", type_name(input));
  }
  if (input.is(Kind::kReal)) return Value::real(std::fabs(input.as_real()));
  const Value zero = Value::integer(0);
  const bool negative = TRY(less(render, input, zero));
  return binary(render, negative ? BinaryOp::kSubtract : BinaryOp::kAdd, zero, input);
}

// float(value); nothing where Python raises a TypeError or ValueError.
Result<std::optional<double>> as_real(Render& render, const Value& value) {
  if (value.is_undefined()) return undefined_error(value);
  if (value.is_string()) {
    TRY(render.charge_bytes(std::ssize(value.as_string())));
    return parse_real(value.as_string());
  }
  if (!value.is_number()) return std::optional<double>();
  return std::optional<double>(TRY(real_of(value)));
}

Result<Value> to_integer(Render& render, const Value& input, const Bound& arguments) {
  const Value otherwise = arguments[0] == nullptr ? Value::integer(0) : *arguments[0];
  const int64_t base = TRY(integer_or(arguments[1], 10));
  if (input.is(Kind::kInteger) || input.is(Kind::kBoolean)) {
    return Value::integer(TRY(integer_of(input)));
  }
  if (input.is_string()) {
    TRY(render.charge_bytes(std::ssize(input.as_string())));
    const auto parsed = TRY(parse_integer(input.as_string(), base));
    if (parsed) return Value::integer(*parsed);
  }
  const auto real = TRY(as_real(render, input));
  if (!real || std::isnan(*real)) return otherwise;
  if (std::isinf(*real) && input.is_string()) return otherwise;
  return Value::integer(TRY(integer_from_real(*real)));
}

Result<Value> to_real(Render& render, const Value& input, const Bound& arguments) {
  const auto real = TRY(as_real(render, input));
  if (real) return Value::real(*real);
  return arguments[0] == nullptr ? Value::real(0) : *arguments[0];
}

// Rounds the exact decimal value of the float, halves to even.
double rounded(double value, int64_t digits) {
  if (digits > 300 || std::isnan(value) || std::isinf(value)) return value;
  if (digits < -308) return std::copysign(0.0, value);
  if (digits >= 0) {
    const std::string text = format_real(value, 'f', {.precision = digits});
    return std::strtod(text.c_str(), nullptr);
  }
  const double unit = std::pow(10.0, static_cast<double>(-digits));
  return std::nearbyint(value / unit) * unit;
}

// To a multiple of ten to the power of -digits, halves to the even one.
Result<Value> rounded_integer(int64_t value, int64_t digits) {
  if (digits >= 0) return Value::integer(value);
  if (digits < -19) return Value::integer(0);  // 10²⁰ is more than twice every value
  __int128 unit = 1;
  for (int64_t i = 0; i > digits; --i) unit *= 10;
  __int128 rest = value % unit;
  if (rest < 0) rest += unit;
  __int128 result = value - rest;
  const bool odd = (result / unit) % 2 != 0;
  if (rest * 2 > unit || (rest * 2 == unit && odd)) result += unit;
  int64_t fitting = 0;
  if (__builtin_add_overflow(result, 0, &fitting)) return overflow();
  return Value::integer(fitting);
}

Result<Value> round(Render&, const Value& input, const Bound& arguments) {
  const int64_t digits = TRY(integer_or(arguments[0], 0));
  const std::string_view method =
      arguments[1] == nullptr ? "common" : TRY(string_of(*arguments[1], "the method of round"));
  if (method != "common" && method != "ceil" && method != "floor") {
    return core::unsupported("method must be common, ceil or floor");
  }
  if (method == "common") {
    if (input.is(Kind::kInteger) || input.is(Kind::kBoolean)) {
      return rounded_integer(TRY(integer_of(input)), digits);
    }
    if (input.is_undefined()) return undefined_error(input);
    if (!input.is(Kind::kReal)) {
      return core::unsupported("type {} doesn't define __round__ method", type_name(input));
    }
    return Value::real(rounded(input.as_real(), digits));
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = TRY(real_of(input)) * scale;
  return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Result<Value> file_size(Render& render, const Value& input, const Bound& arguments) {
  constexpr const char* kDecimal[] = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
  constexpr const char* kBinary[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
  const auto bytes = TRY(as_real(render, input));
  if (!bytes) return core::unsupported("could not convert to float: '{}'", type_name(input));
  const bool is_binary = is_true(arguments[0]);
  const double base = is_binary ? 1024 : 1000;
  if (*bytes == 1) return Value::string("1 Byte");
  if (*bytes < base) {
    return Value::string(fmt::format("{} Bytes", TRY(integer_from_real(*bytes))));
  }
  double unit = base * base;
  size_t prefix = 0;
  for (; prefix < 7 && *bytes >= unit; ++prefix) unit *= base;
  const std::string number = format_real(base * *bytes / unit, 'f', {.precision = 1});
  return Value::string(
      fmt::format("{} {}", number, is_binary ? kBinary[prefix] : kDecimal[prefix]));
}

constexpr Native kFilters[] = {
    {"abs", absolute},
    {"filesizeformat", file_size, {"binary"}},
    {"float", to_real, {"default"}},
    {"int", to_integer, {"default", "base"}},
    {"round", round, {"precision", "method"}},
};

}  // namespace

std::span<const Native> number_filters() {
  return kFilters;
}

}  // namespace sluice::jinja
