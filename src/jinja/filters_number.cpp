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
  if (input.is(Kind::real)) return Value::real(std::fabs(input.as_real()));
  const Value zero = Value::integer(0);
  const bool negative = TRY(less(render, input, zero));
  return binary(render, negative ? BinaryOp::subtract : BinaryOp::add, zero, input);
}

// float(value); nothing where Python raises a TypeError or ValueError.
Result<std::optional<double>> as_real(const Value& value) {
  if (value.is_undefined()) return undefined_error(value);
  if (value.is_string()) return parse_real(value.as_string());
  if (!value.is_number()) return std::optional<double>();
  return std::optional<double>(TRY(real_of(value)));
}

Result<Value> to_integer(Render&, const Value& input, const Bound& arguments) {
  const Value otherwise = arguments[0] == nullptr ? Value::integer(0) : *arguments[0];
  const int64_t base = TRY(integer_or(arguments[1], 10));
  if (input.is(Kind::integer) || input.is(Kind::boolean)) {
    return Value::integer(TRY(integer_of(input)));
  }
  if (input.is_string()) {
    const auto parsed = TRY(parse_integer(input.as_string(), base));
    if (parsed) return Value::integer(*parsed);
  }
  const auto real = TRY(as_real(input));
  if (!real || std::isnan(*real)) return otherwise;
  if (std::isinf(*real) && input.is_string()) return otherwise;
  return Value::integer(TRY(integer_from_real(*real)));
}

Result<Value> to_real(Render&, const Value& input, const Bound& arguments) {
  const auto real = TRY(as_real(input));
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

Result<Value> rounded_integer(Render& render, const Value& input, int64_t digits) {
  const int64_t value = TRY(integer_of(input));
  if (digits >= 0) return Value::integer(value);
  if (digits < -18) return Value::integer(0);
  const Value unit =
      TRY(binary(render, BinaryOp::power, Value::integer(10), Value::integer(-digits)));
  const int64_t size = unit.as_integer();
  const int64_t rest = TRY(binary(render, BinaryOp::modulo, input, unit)).as_integer();
  const int64_t low = value - rest;
  const bool odd = (low / size) % 2 != 0;
  const bool up = rest > size - rest || (rest == size - rest && odd);
  return binary(render, BinaryOp::add, Value::integer(low), Value::integer(up ? size : 0));
}

Result<Value> round(Render& render, const Value& input, const Bound& arguments) {
  const int64_t digits = TRY(integer_or(arguments[0], 0));
  const std::string_view method =
      arguments[1] == nullptr ? "common" : TRY(string_of(*arguments[1], "the method of round"));
  if (method != "common" && method != "ceil" && method != "floor") {
    return core::unsupported("method must be common, ceil or floor");
  }
  if (method == "common") {
    if (input.is(Kind::integer) || input.is(Kind::boolean)) {
      return rounded_integer(render, input, digits);
    }
    if (input.is_undefined()) return undefined_error(input);
    if (!input.is(Kind::real)) {
      return core::unsupported("type {} doesn't define __round__ method", type_name(input));
    }
    return Value::real(rounded(input.as_real(), digits));
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = TRY(real_of(input)) * scale;
  return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Result<Value> file_size(Render&, const Value& input, const Bound& arguments) {
  constexpr const char* kDecimal[] = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
  constexpr const char* kBinary[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
  const auto bytes = TRY(as_real(input));
  if (!bytes) return core::unsupported("could not convert to float: '{}'", type_name(input));
  const bool is_binary = truth_or(arguments[0], false);
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
