#include "jinja/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "core/utf8.h"
#include "jinja/number_format.h"
#include "jinja/operators.h"
#include "jinja/render.h"
#include "jinja/text.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

using core::Result;

namespace {

constexpr int64_t kCodePointMax = 0x10ffff;
// Widths and precisions count up to here, which is over every limit of a text.
constexpr int64_t kDigitsMax = 1'000'000'000;

// Reads digits; nothing where there are none.
std::optional<int64_t> read_digits(std::string_view text, size_t& at) {
  std::optional<int64_t> value;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    value = std::min(kDigitsMax, value.value_or(0) * 10 + (text[at] - '0'));
  }
  return value;
}

// "%…" fields.
class PercentFormatter {
 public:
  PercentFormatter(Render& render, std::string_view text, const Value& values)
      : render_(render), text_(text), values_(values) {}

  Result<std::string> run();

 private:
  Result<void> field();
  Result<std::string> converted(char conversion, NumberFormat& format);
  Result<Value> next_value();
  Result<int64_t> star_or_digits();

  Render& render_;
  std::string_view text_;
  const Value& values_;
  std::string out_;
  size_t at_ = 0;
  size_t used_ = 0;  // of the values
  std::optional<Value> named_;
};

bool is_tuple(const Value& value) {
  return value.is(Kind::kList) &&
         (value.as_list().kind == ListKind::kTuple || value.as_list().kind == ListKind::kGroup);
}

Result<Value> PercentFormatter::next_value() {
  if (named_) return *named_;
  const size_t count = is_tuple(values_) ? values_.as_list().items.size() : 1;
  if (used_ == count) return core::unsupported("not enough arguments for format string");
  ++used_;
  return is_tuple(values_) ? values_.as_list().items[used_ - 1] : values_;
}

// A width or precision; "*" takes it from the values, where it may be negative.
Result<int64_t> PercentFormatter::star_or_digits() {
  if (at_ < text_.size() && text_[at_] == '*') {
    ++at_;
    const Value value = TRY(next_value());
    const int64_t given = TRY(integer_of(value));
    return std::clamp(given, -kDigitsMax, kDigitsMax);
  }
  return read_digits(text_, at_).value_or(0);
}

Result<std::string> PercentFormatter::converted(char conversion, NumberFormat& format) {
  const Value value = TRY(next_value());
  switch (conversion) {
    case 's':
    case 'r':
    case 'a': {
      std::string text;
      if (conversion == 's') {
        text = TRY(to_text(render_, value));
      } else {
        TRY(append_repr(render_, text, value));
      }
      if (format.precision >= 0) text.resize(offset_of(text, format.precision));
      format.zero_fill = false;
      return text;
    }
    case 'c':
      if (value.is_string() && code_points(value.as_string()) == 1) return value.as_string();
      {
        const int64_t code_point = TRY(integer_of(value));
        if (code_point < 0 || code_point > kCodePointMax) {
          return core::unsupported("%c arg not in range(0x110000)");
        }
        std::string character;
        core::append_utf8(static_cast<char32_t>(code_point), character);
        return character;
      }
    case 'd':
    case 'i':
    case 'u':
      if (value.is(Kind::kReal)) {
        return format_integer(TRY(integer_from_real(value.as_real())), 'd', format);
      }
      if (!value.is_number()) {
        return core::unsupported("%{} format: a real number is required, not {}", conversion,
                                 type_name(value));
      }
      return format_integer(TRY(integer_of(value)), 'd', format);
    case 'x':
    case 'X':
    case 'o':
      if (!value.is(Kind::kInteger) && !value.is(Kind::kBoolean)) {
        return core::unsupported("%{} format: an integer is required, not {}", conversion,
                                 type_name(value));
      }
      return format_integer(TRY(integer_of(value)), conversion, format);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      return format_real(TRY(real_of(value)), conversion, format);
    default:
      return core::unsupported("unsupported format character '{}'", conversion);
  }
}

// One field, behind its '%'.
Result<void> PercentFormatter::field() {
  named_.reset();
  if (at_ < text_.size() && text_[at_] == '(') {
    const size_t end = text_.find(')', at_);
    if (end == std::string_view::npos) return core::unsupported("incomplete format key");
    if (!values_.is(Kind::kDict)) return core::unsupported("format requires a mapping");
    const std::string_view key = text_.substr(at_ + 1, end - at_ - 1);
    const Value* found = values_.as_dict().find(key);
    if (found == nullptr) return core::unsupported("format key '{}' is missing", key);
    named_ = *found;
    at_ = end + 1;
  }
  NumberFormat format;
  format.percent_style = true;
  bool left = false;
  for (; at_ < text_.size(); ++at_) {
    const char flag = text_[at_];
    if (flag == '-') {
      left = true;
    } else if (flag == '+' || (flag == ' ' && format.sign != '+')) {
      format.sign = flag;
    } else if (flag == '0') {
      format.zero_fill = true;
    } else if (flag == '#') {
      format.alternate = true;
    } else if (flag != ' ') {
      break;
    }
  }
  format.width = TRY(star_or_digits());
  if (format.width < 0) {
    left = true;
    format.width = -format.width;
  }
  if (at_ < text_.size() && text_[at_] == '.') {
    ++at_;
    format.precision = std::max<int64_t>(TRY(star_or_digits()), 0);
  }
  while (at_ < text_.size() && (text_[at_] == 'l' || text_[at_] == 'h' || text_[at_] == 'L')) ++at_;
  if (at_ >= text_.size()) return core::unsupported("incomplete format");
  const char conversion = text_[at_++];
  if (conversion == '%') {
    out_ += '%';
    return {};
  }
  if (left) format.zero_fill = false;
  TRY(render_.charge_string(format.width + std::max<int64_t>(format.precision, 0)));
  const std::string text = TRY(converted(conversion, format));
  out_ += padded(text, format.width, left ? '<' : '>', " ");
  return render_.check_string(std::ssize(out_));
}

Result<std::string> PercentFormatter::run() {
  TRY(render_.charge_bytes(std::ssize(text_)));
  bool any_named = false;
  while (at_ < text_.size()) {
    const size_t percent = std::min(text_.find('%', at_), text_.size());
    out_ += text_.substr(at_, percent - at_);
    at_ = percent + 1;
    if (percent == text_.size()) break;
    TRY(field());
    any_named = any_named || named_.has_value();
  }
  // Python lets everything that can be indexed pass as a mapping.
  const bool is_indexed = values_.is(Kind::kList) && (values_.as_list().kind == ListKind::kList ||
                                                      values_.as_list().kind == ListKind::kRange);
  const bool may_be_unused =
      values_.is(Kind::kDict) || values_.is_undefined() || is_indexed || any_named;
  const size_t count = is_tuple(values_) ? values_.as_list().items.size() : 1;
  if (used_ < count && !may_be_unused) {
    return core::unsupported("not all arguments converted during string formatting");
  }
  return std::move(out_);
}

// "{…}" fields.
class BraceFormatter {
 public:
  BraceFormatter(Render& render, const Arguments& arguments)
      : render_(render), arguments_(arguments) {}

  // `levels`: how deep fields may still stand inside of format specs.
  Result<std::string> run(std::string_view text, int levels);

 private:
  Result<std::string> field(std::string_view text, int levels);
  Result<Value> lookup(std::string_view name);
  Result<Value> first_value(std::string_view name);

  Render& render_;
  const Arguments& arguments_;
  size_t next_ = 0;                // of automatic numbering
  std::optional<bool> numbering_;  // automatic or not, once a field has shown which
};

Result<std::string> BraceFormatter::run(std::string_view text, int levels) {
  if (levels < 0) return core::unsupported("Max string recursion exceeded");
  TRY(render_.charge_bytes(std::ssize(text)));
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    const bool doubled = at + 1 < text.size() && text[at + 1] == c;
    if (c != '{' && c != '}') {
      out += c;
    } else if (doubled) {
      out += c;
      ++at;
    } else if (c == '}') {
      return core::unsupported("Single '}}' encountered in format string");
    } else {
      size_t end = at + 1;
      for (int open = 1; end < text.size(); ++end) {
        if (text[end] == '{') ++open;
        if (text[end] == '}' && --open == 0) break;
      }
      if (end == text.size()) return core::unsupported("expected '}}' before end of string");
      const std::string part = TRY(field(text.substr(at + 1, end - at - 1), levels));
      TRY(render_.charge_bytes(std::ssize(part)));
      out += part;
      TRY(render_.check_string(std::ssize(out)));
      at = end;
    }
  }
  return out;
}

// "name!r:spec", without its braces.
Result<std::string> BraceFormatter::field(std::string_view text, int levels) {
  size_t name_end = 0;
  for (int brackets = 0; name_end < text.size(); ++name_end) {
    if (text[name_end] == '[') ++brackets;
    if (text[name_end] == ']') --brackets;
    if (brackets <= 0 && (text[name_end] == '!' || text[name_end] == ':')) break;
  }
  Value value = TRY(lookup(text.substr(0, name_end)));
  std::string_view rest = text.substr(name_end);
  if (rest.starts_with('!')) {
    if (rest.size() < 2 || (rest.size() > 2 && rest[2] != ':')) {
      return core::unsupported("expected ':' after conversion specifier");
    }
    std::string converted;
    if (rest[1] == 's') {
      converted = TRY(to_text(render_, value));
    } else if (rest[1] == 'r' || rest[1] == 'a') {
      TRY(append_repr(render_, converted, value));
    } else {
      return core::unsupported("Unknown conversion specifier {}", rest[1]);
    }
    value = Value::string(std::move(converted));
    rest.remove_prefix(2);
  }
  if (rest.size() < 2) return to_text(render_, value);
  const std::string spec = TRY(run(rest.substr(1), levels - 1));
  return format_value(render_, value, spec);
}

Result<Value> BraceFormatter::first_value(std::string_view name) {
  size_t index = 0;
  const auto number = std::from_chars(name.data(), name.data() + name.size(), index);
  const bool is_automatic = name.empty();
  const bool is_number = number.ec == std::errc() && number.ptr == name.data() + name.size();
  if (is_automatic || is_number) {
    if (numbering_.value_or(is_automatic) != is_automatic) {
      return core::unsupported("cannot mix numbered and automatic fields");
    }
    numbering_ = is_automatic;
  }
  if (is_automatic) {
    index = next_++;
  } else if (!is_number) {
    TRY(render_.charge(std::ssize(arguments_.named)));
    for (const auto& [given, value] : arguments_.named) {
      if (given == name) return value;
    }
    return core::unsupported("format has no argument '{}'", name);
  }
  if (index < arguments_.positional.size()) return arguments_.positional[index];
  return core::unsupported("Replacement index {} out of range for positional args tuple", index);
}

// "0.name[key]"
Result<Value> BraceFormatter::lookup(std::string_view name) {
  size_t at = std::min(name.find_first_of(".["), name.size());
  Value value = TRY(first_value(name.substr(0, at)));
  while (at < name.size()) {
    if (name[at] == '.') {
      const size_t end = std::min(name.find_first_of(".[", at + 1), name.size());
      value = TRY(attribute(render_, value, std::string(name.substr(at + 1, end - at - 1))));
      at = end;
      continue;
    }
    const size_t end = name.find(']', at);
    if (name[at] != '[' || end == std::string_view::npos) {
      return core::unsupported("Only '.' or '[' may follow ']' in format field specifier");
    }
    size_t digits = at + 1;
    const auto index = read_digits(name, digits);
    const bool is_number = index.has_value() && digits == end;
    value =
        TRY(subscript(render_, value,
                      is_number ? Value::integer(*index)
                                : Value::string(std::string(name.substr(at + 1, end - at - 1)))));
    at = end + 1;
  }
  return value;
}

}  // namespace

Result<Value> format_percent(Render& render, const Value& text, const Value& values) {
  return Value::string(TRY(PercentFormatter(render, text.as_string(), values).run()));
}

Result<std::string> format_braces(Render& render, std::string_view text,
                                  const Arguments& arguments) {
  return BraceFormatter(render, arguments).run(text, 2);
}

}  // namespace sluice::jinja
