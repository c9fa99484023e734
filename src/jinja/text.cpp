#include "jinja/text.h"

#include <charconv>
#include <cmath>

#include "jinja/objects.h"
#include "jinja/operators.h"
#include "jinja/render.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

using core::Result;

namespace {

struct Brackets {
  std::string_view open, close;
};

Brackets brackets_of(ListKind kind) {
  switch (kind) {
    case ListKind::kTuple:
    case ListKind::kGroup:
      return {"(", ")"};
    case ListKind::kDictKeys:
      return {"dict_keys([", "])"};
    case ListKind::kDictValues:
      return {"dict_values([", "])"};
    case ListKind::kDictItems:
      return {"dict_items([", "])"};
    default:
      return {"[", "]"};
  }
}

Result<void> append_list(Render& render, std::string& out, const List& list) {
  if (list.kind == ListKind::kRange) {
    const auto& range = list.range;
    out += range.step == 1 ? fmt::format("range({}, {})", range.start, range.stop)
                           : fmt::format("range({}, {}, {})", range.start, range.stop, range.step);
    return {};
  }
  const Brackets brackets = brackets_of(list.kind);
  out += brackets.open;
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += ", ";
    TRY(append_repr(render, out, list.items[i]));
  }
  if (brackets.open == "(" && list.items.size() == 1) out += ',';
  out += brackets.close;
  return {};
}

Result<void> append_dict(Render& render, std::string& out, const Dict& dict) {
  out += '{';
  bool first = true;
  for (const auto& [key, value] : dict.entries()) {
    if (!first) out += ", ";
    first = false;
    TRY(append_repr(render, out, key));
    out += ": ";
    TRY(append_repr(render, out, value));
  }
  out += '}';
  return {};
}

}  // namespace

std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char digits[32];
  const auto scientific =
      std::to_chars(digits, digits + sizeof(digits), value, std::chars_format::scientific);
  const std::string_view shortest(digits, static_cast<size_t>(scientific.ptr - digits));
  const size_t exponent_at = shortest.find('e');
  int exponent = 0;
  const char* exponent_digits = digits + exponent_at + (shortest[exponent_at + 1] == '+' ? 2 : 1);
  std::from_chars(exponent_digits, scientific.ptr, exponent);
  if (exponent < -4 || exponent >= 16) return std::string(shortest);
  char plain[64];
  const auto fixed = std::to_chars(plain, plain + sizeof(plain), value, std::chars_format::fixed);
  std::string text(plain, fixed.ptr);
  if (text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string quoted(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const bool has_double = text.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size(); at = next_offset(text, at)) {
    const char32_t c = code_point_at(text, at);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_in_class(c, CharacterClass::kPrintable)) {
      out += text.substr(at, next_offset(text, at) - at);
    } else if (c < 0x100) {
      out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
    } else if (c < 0x10000) {
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else {
      out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
    }
  }
  out += quote;
  return out;
}

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

Result<void> append_repr(Render& render, std::string& out, const Value& value) {
  TRY(render.charge(1));
  const Render::Depth depth(render);
  TRY(depth.check());
  if (static_cast<int64_t>(out.size()) > render.options().output_bytes_max) {
    return render.output_limit();
  }
  switch (value.kind()) {
    case Kind::kUndefined:
      out += "Undefined";
      return {};
    case Kind::kString: {
      TRY(render.charge_bytes(value.as_string().size()));
      const std::string text = quoted(value.as_string());
      out += value.is_safe_string() ? fmt::format("Markup({})", text) : text;
      return {};
    }
    case Kind::kList:
      return append_list(render, out, value.as_list());
    case Kind::kDict:
      return append_dict(render, out, value.as_dict());
    default:
      return append_text(render, out, value);
  }
}

Result<void> append_text(Render& render, std::string& out, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return {};
    case Kind::kNone:
      out += "None";
      return {};
    case Kind::kBoolean:
      out += value.as_boolean() ? "True" : "False";
      return {};
    case Kind::kInteger:
      out += fmt::format("{}", value.as_integer());
      return {};
    case Kind::kReal:
      out += real_text(value.as_real());
      return {};
    case Kind::kString:
      TRY(render.charge_bytes(value.as_string().size()));
      out += value.as_string();
      return {};
    case Kind::kList:
    case Kind::kDict:
      return append_repr(render, out, value);
    case Kind::kObject:
      out += TRY(value.as_object().representation(render));
      return {};
  }
  return {};
}

Result<std::string> to_text(Render& render, const Value& value) {
  if (value.is_string()) {
    TRY(render.charge_bytes(value.as_string().size()));
    return value.as_string();
  }
  std::string out;
  TRY(append_text(render, out, value));
  return out;
}

}  // namespace sluice::jinja
