#include "jinja/number_format.h"

#include <charconv>
#include <cmath>
#include <cstdio>

#include "jinja/operators.h"
#include "jinja/render.h"
#include "jinja/text.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

using core::Result;

namespace {

struct FormatSpec {
  std::string fill = " ";
  char align = 0;  // < > ^ =; 0 = by type
  char type = 0;
  NumberFormat number;
};

bool is_align(char c) {
  return c == '<' || c == '>' || c == '^' || c == '=';
}

Result<FormatSpec> parse_spec(std::string_view text) {
  FormatSpec spec;
  size_t at = 0;
  const auto peek = [&](size_t ahead = 0) {
    return at + ahead < text.size() ? text[at + ahead] : '\0';
  };
  const size_t fill_end = text.empty() ? 0 : next_offset(text, 0);
  if (fill_end < text.size() && is_align(text[fill_end])) {
    spec.fill = text.substr(0, fill_end);
    spec.align = text[fill_end];
    at = fill_end + 1;
  } else if (is_align(peek())) {
    spec.align = text[at++];
  }
  if (peek() == '+' || peek() == '-' || peek() == ' ') spec.number.sign = text[at++];
  if (peek() == 'z') ++at;
  if (peek() == '#') {
    spec.number.alternate = true;
    ++at;
  }
  if (peek() == '0') {
    ++at;
    if (spec.align == 0) {
      spec.align = '=';
      spec.fill = "0";
    }
  }
  const auto digits = [&](int64_t& value) {
    for (value = 0; peek() >= '0' && peek() <= '9'; ++at) {
      value = std::min<int64_t>(value * 10 + (text[at] - '0'), 1'000'000'000);
    }
  };
  digits(spec.number.width);
  if (peek() == ',' || peek() == '_') spec.number.grouping = text[at++];
  if (peek() == '.') {
    ++at;
    if (peek() < '0' || peek() > '9')
      return core::unsupported("Format specifier missing precision");
    digits(spec.number.precision);
  }
  if (at < text.size()) spec.type = text[at++];
  if (at < text.size()) return core::unsupported("Invalid format specifier '{}'", text);
  return spec;
}

// "1234567.8" to "1,234,567.8"
std::string grouped(std::string_view digits, char separator, size_t group) {
  const size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % group == 0) out += separator;
    out += digits[i];
  }
  return out.append(digits.substr(whole));
}

enum class Sign { kPlus, kMinus };

std::string with_sign(std::string digits, Sign sign, std::string_view prefix,
                      const NumberFormat& format) {
  std::string head = sign == Sign::kMinus ? "-"
                     : format.sign == '-' ? ""
                                          : std::string(1, format.sign);
  head += prefix;
  const auto room = format.width - static_cast<int64_t>(head.size());
  if (format.zero_fill && room > static_cast<int64_t>(digits.size())) {
    digits.insert(0, static_cast<size_t>(room) - digits.size(), '0');
  }
  return head + digits;
}

std::string plain_real(double value, char type, int64_t precision) {
  const std::string pattern = fmt::format("%.*{}", type);
  const int digits = static_cast<int>(precision);
  const int size = std::snprintf(nullptr, 0, pattern.c_str(), digits, value);
  std::string text(static_cast<size_t>(size) + 1, '\0');
  std::snprintf(text.data(), text.size(), pattern.c_str(), digits, value);
  text.pop_back();
  return text;
}

}  // namespace

std::string format_integer(int64_t value, char type, const NumberFormat& format) {
  const Sign sign = value < 0 ? Sign::kMinus : Sign::kPlus;
  const uint64_t magnitude =
      value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  std::string digits;
  std::string prefix;
  switch (type) {
    case 'b':
      digits = fmt::format("{:b}", magnitude);
      prefix = "0b";
      break;
    case 'o':
      digits = fmt::format("{:o}", magnitude);
      prefix = "0o";
      break;
    case 'x':
      digits = fmt::format("{:x}", magnitude);
      prefix = "0x";
      break;
    case 'X':
      digits = fmt::format("{:X}", magnitude);
      prefix = "0X";
      break;
    default:
      digits = fmt::format("{}", magnitude);
  }
  if (!format.alternate) prefix.clear();
  if (format.percent_style && format.precision > static_cast<int64_t>(digits.size())) {
    digits.insert(0, static_cast<size_t>(format.precision) - digits.size(), '0');
  }
  if (format.grouping != 0) digits = grouped(digits, format.grouping, type == 'd' ? 3 : 4);
  return with_sign(std::move(digits), sign, prefix, format);
}

std::string format_real(double value, char type, const NumberFormat& format) {
  const Sign sign = std::signbit(value) && !std::isnan(value) ? Sign::kMinus : Sign::kPlus;
  const double magnitude = std::fabs(value);
  std::string digits;
  if (std::isnan(value) || std::isinf(value)) {
    digits = std::isnan(value) ? "nan" : "inf";
    if (type == 'E' || type == 'F' || type == 'G') digits = to_upper(digits);
  } else if (type == 0 && format.precision < 0) {
    digits = real_text(magnitude);
  } else if (type == '%') {
    digits = plain_real(magnitude * 100, 'f', format.precision < 0 ? 6 : format.precision) + "%";
  } else {
    digits =
        plain_real(magnitude, type == 0 ? 'g' : type, format.precision < 0 ? 6 : format.precision);
  }
  if (format.grouping != 0) digits = grouped(digits, format.grouping, 3);
  return with_sign(std::move(digits), sign, "", format);
}

std::string padded(std::string_view text, int64_t width, char align, std::string_view fill) {
  const int64_t length = code_points(text);
  if (width <= length) return std::string(text);
  const int64_t missing = width - length;
  const int64_t before = align == '<' ? 0 : align == '>' ? missing : missing / 2;
  std::string out;
  for (int64_t i = 0; i < before; ++i) out += fill;
  out += text;
  for (int64_t i = before; i < missing; ++i) out += fill;
  return out;
}

Result<int64_t> integer_from_real(double value) {
  if (std::isnan(value)) return core::unsupported("cannot convert float NaN to integer");
  if (std::isinf(value)) return core::unsupported("cannot convert float infinity to integer");
  if (value >= 9223372036854775808.0 || value < -9223372036854775808.0) {
    return core::unsupported("the integer result does not fit into 64 bits");
  }
  return static_cast<int64_t>(value);
}

Result<std::string> format_value(Render& render, const Value& value, std::string_view text) {
  FormatSpec spec = TRY(parse_spec(text));
  NumberFormat& number = spec.number;
  TRY(render.charge_string(std::ssize(spec.fill), number.width));
  TRY(render.charge_string(std::max<int64_t>(number.precision, 0)));
  constexpr std::string_view kIntegerTypes = "dboxX";
  constexpr std::string_view kRealTypes = "eEfFgG%";
  if (value.is_number() && spec.type != 's') {
    const bool plain_boolean = value.is(Kind::kBoolean) && spec.type == 0;
    number.zero_fill = spec.align == '=' && spec.fill == "0";
    const bool as_real = value.is(Kind::kReal) ||
                         (spec.type != 0 && kRealTypes.find(spec.type) != std::string_view::npos);
    std::string digits;
    if (plain_boolean && text.empty()) {
      digits = value.as_boolean() ? "True" : "False";
    } else if (as_real) {
      if (spec.type != 0 && kRealTypes.find(spec.type) == std::string_view::npos) {
        return core::unsupported("Unknown format code '{}' for object of type 'float'", spec.type);
      }
      digits = format_real(TRY(real_of(value)), spec.type, number);
    } else {
      const char type = spec.type == 0 || spec.type == 'n' ? 'd' : spec.type;
      if (kIntegerTypes.find(type) == std::string_view::npos) {
        return core::unsupported("Unknown format code '{}' for object of type 'int'", type);
      }
      if (number.precision >= 0) {
        return core::unsupported("Precision not allowed in integer format specifier");
      }
      digits = format_integer(TRY(integer_of(value)), type, number);
    }
    const char align = spec.align == 0 || spec.align == '=' ? '>' : spec.align;
    return padded(digits, number.width, align, spec.fill);
  }
  if (!value.is_string()) {
    return core::unsupported("unsupported format string passed to {}.__format__", type_name(value));
  }
  if ((spec.type != 0 && spec.type != 's') || spec.align == '=') {
    return core::unsupported("Unknown format code '{}' for object of type 'str'", spec.type);
  }
  std::string cut = value.as_string();
  if (number.precision >= 0) cut.resize(offset_of(cut, number.precision));
  return padded(cut, number.width, spec.align == 0 ? '<' : spec.align, spec.fill);
}

}  // namespace sluice::jinja
