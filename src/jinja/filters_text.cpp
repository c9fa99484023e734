// Filters that make text of their input.
#include "jinja/format.h"
#include "jinja/json.h"
#include "jinja/loop.h"
#include "jinja/number_format.h"
#include "jinja/operators.h"
#include "jinja/support.h"
#include "jinja/text.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

using core::Result;

namespace {

// A filter that works on the text of its input alone.
template <std::string (*kConvert)(std::string_view)>
Result<Value> converted(Render& render, const Value& input, const Bound&) {
  const Value text = TRY(soft_text(render, input));
  TRY(render.charge_bytes(text.as_string().size()));
  return string_like(text, kConvert(text.as_string()));
}

// After white space and opening brackets in upper case, the rest in lower case.
std::string title_words(std::string_view text) {
  std::string out;
  bool starts = true;
  for (size_t at = 0; at < text.size(); at = next_offset(text, at)) {
    const char32_t c = code_point_at(text, at);
    const std::string_view character = text.substr(at, next_offset(text, at) - at);
    const bool separates = is_space(c) || character.find_first_of("-({[<") == 0;
    out += separates || starts ? to_upper(character) : to_lower(character);
    starts = separates;
  }
  return out;
}

Result<Value> center(Render& render, const Value& input, const Bound& arguments) {
  const Value text = TRY(soft_text(render, input));
  const int64_t width = std::max<int64_t>(TRY(integer_or(arguments[0], 80)), 0);
  TRY(render.charge_bytes(std::ssize(text.as_string())));
  TRY(render.charge_string(width));
  const int64_t missing = std::max<int64_t>(width - code_points(text.as_string()), 0);
  // Python puts the odd space to the left where the width is odd.
  const int64_t left = missing / 2 + (missing & width & 1);
  return string_like(text, std::string(static_cast<size_t>(left), ' ') + text.as_string() +
                               std::string(static_cast<size_t>(missing - left), ' '));
}

Result<Value> escape(Render& render, const Value& input, const Bound&) {
  if (input.is_safe_string()) return input;
  return Value::safe_string(escape_html(TRY(to_text(render, input))));
}

Result<Value> force_escape(Render& render, const Value& input, const Bound&) {
  return Value::safe_string(escape_html(TRY(to_text(render, input))));
}

Result<Value> mark_safe(Render& render, const Value& input, const Bound&) {
  return Value::safe_string(TRY(to_text(render, input)));
}

Result<Value> string(Render& render, const Value& input, const Bound&) {
  return soft_text(render, input);
}

Result<Value> format(Render& render, const Value& input, const Bound& arguments) {
  const Value text = TRY(soft_text(render, input));
  if (arguments.all.named.empty()) {
    return format_percent(render, text, Value::tuple(arguments.all.positional));
  }
  if (!arguments.all.positional.empty()) {
    return core::unsupported("format takes either positional or keyword arguments");
  }
  Dict values;
  for (const auto& [name, value] : arguments.all.named) values.set(name, value);
  return format_percent(render, text, Value::dict(std::move(values)));
}

Result<Value> indent(Render& render, const Value& input, const Bound& arguments) {
  const std::string_view text = TRY(string_of(input, "the input of indent"));
  std::string indention;
  if (arguments[0] != nullptr && arguments[0]->is_string()) {
    indention = arguments[0]->as_string();
  } else {
    const int64_t width = std::max<int64_t>(TRY(integer_or(arguments[0], 4)), 0);
    TRY(render.charge_string(width));
    indention.assign(static_cast<size_t>(width), ' ');
  }
  const bool first = is_true(arguments[1]);
  const bool blank = is_true(arguments[2]);
  const std::string with_end = std::string(text) + "\n";
  std::string out = first ? indention : "";
  bool is_first = true;
  for (const std::string_view line : split_lines(with_end)) {
    if (!is_first) {
      out += '\n';
      if (blank || !line.empty()) out += indention;
    }
    is_first = false;
    out += line;
    if (static_cast<int64_t>(out.size()) > render.options().output_bytes_max) break;
  }
  TRY(render.charge_string(out.size()));
  return string_like(input, std::move(out));
}

Result<Value> replace(Render& render, const Value& input, const Bound& arguments) {
  const std::string text = TRY(to_text(render, input));
  const std::string old = TRY(to_text(render, *arguments[0]));
  const std::string replacement = TRY(to_text(render, *arguments[1]));
  const int64_t count = is_given(arguments[2]) ? TRY(integer_of(*arguments[2])) : -1;
  return Value::string(TRY(replaced(render, text, old, replacement, count)));
}

Result<Value> trim(Render& render, const Value& input, const Bound& arguments) {
  const Value text = TRY(soft_text(render, input));
  TRY(render.charge_bytes(text.as_string().size()));
  if (!is_given(arguments[0])) return string_like(text, std::string(strip(text.as_string())));
  const std::string_view characters = TRY(string_of(*arguments[0], "the characters to trim"));
  TRY(render.charge_bytes(std::ssize(characters)));
  return string_like(text, std::string(strip(text.as_string(), characters, Side::kBoth)));
}

// Words that are cut in two are better left out, and up to five characters too many do not matter.
Result<Value> truncate(Render& render, const Value& input, const Bound& arguments) {
  constexpr int64_t kLeeway = 5;
  const int64_t length = TRY(integer_or(arguments[0], 255));
  const bool kill_words = is_true(arguments[1]);
  const std::string_view end =
      arguments[2] == nullptr ? "..." : TRY(string_of(*arguments[2], "the end of truncate"));
  const int64_t leeway = is_given(arguments[3]) ? TRY(integer_of(*arguments[3])) : kLeeway;
  TRY(render.charge_bytes(std::ssize(end)));
  const int64_t end_length = code_points(end);
  if (length < end_length || leeway < 0) {
    return core::unsupported("truncate: expected length >= {}, got {}", end_length, length);
  }
  const auto size = TRY(charged_length(render, input));
  if (size && *size - leeway <= length) return input;
  const std::string_view text = TRY(string_of(input, "the input of truncate"));
  std::string_view kept = text.substr(0, offset_of(text, length - end_length));
  if (!kill_words) kept = kept.substr(0, std::min(kept.rfind(' '), kept.size()));
  return Value::string(std::string(kept) + std::string(end));
}

Result<Value> word_count(Render& render, const Value& input, const Bound&) {
  const std::string text = TRY(to_text(render, input));
  int64_t words = 0;
  bool in_word = false;
  for (size_t at = 0; at < text.size(); at = next_offset(text, at)) {
    const char32_t c = code_point_at(text, at);
    const bool is_word = c == '_' || is_in_class(c, CharacterClass::kAlnum);
    if (is_word && !in_word) ++words;
    in_word = is_word;
  }
  return Value::integer(words);
}

enum class UrlPart { kPath, kQuery };
std::string url_quoted(std::string_view text, UrlPart part) {
  std::string out;
  for (const char c : text) {
    const char lower = static_cast<char>(c | 32);
    const bool plain = (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
                       c == '.' || c == '-' || c == '~' || (c == '/' && part == UrlPart::kPath);
    if (plain) {
      out += c;
    } else if (c == ' ' && part == UrlPart::kQuery) {
      out += '+';
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

Result<Value> url_encode(Render& render, const Value& input, const Bound&) {
  if (input.is_string() || !is_iterable(input)) {
    return Value::string(url_quoted(TRY(to_text(render, input)), UrlPart::kPath));
  }
  std::string out;
  const auto append = [&](const Value& key, const Value& value) -> Result<void> {
    if (!out.empty()) out += '&';
    out += url_quoted(TRY(to_text(render, key)), UrlPart::kQuery) + "=";
    out += url_quoted(TRY(to_text(render, value)), UrlPart::kQuery);
    return {};
  };
  if (input.is(Kind::kDict)) {
    for (const auto& [key, value] : input.as_dict().entries()) TRY(append(key, value));
    return Value::string(std::move(out));
  }
  for (const Value& pair : TRY(collect(render, input))) {
    const std::vector<Value> both = TRY(collect(render, pair));
    if (both.size() != 2) return core::unsupported("urlencode needs pairs");
    TRY(append(both[0], both[1]));
  }
  return Value::string(std::move(out));
}

Result<JsonOptions> json_options(Render& render, const Bound& arguments) {
  JsonOptions options;
  options.ascii_only = is_true(arguments[0]);
  options.sort_keys = is_true(arguments[3]);
  if (is_given(arguments[1])) {
    const Value& indent = *arguments[1];
    if (indent.is_string()) {
      options.indent = indent.as_string();
    } else {
      const int64_t width = std::max<int64_t>(TRY(integer_of(indent)), 0);
      TRY(render.charge_string(width));
      options.indent = std::string(static_cast<size_t>(width), ' ');
    }
    options.item_separator = ",";
  }
  if (is_given(arguments[2])) {
    const std::vector<Value> separators = TRY(collect(render, *arguments[2]));
    if (separators.size() != 2) return core::unsupported("tojson needs two separators");
    options.item_separator = TRY(string_of(separators[0], "a separator of tojson"));
    options.key_separator = TRY(string_of(separators[1], "a separator of tojson"));
  }
  return options;
}

Result<Value> json(Render& render, const Value& input, const Bound& arguments) {
  const JsonOptions options = TRY(json_options(render, arguments));
  return Value::string(TRY(to_json(render, input, options)));
}

constexpr Native kFilters[] = {
    {"capitalize", converted<capitalize>},
    {"center", center, {"width"}},
    {"e", escape},
    {"escape", escape},
    {"forceescape", force_escape},
    {"format", format, {"*"}},
    {"indent", indent, {"width", "first", "blank"}},
    {"lower", converted<to_lower>},
    {"replace", replace, {"old", "new", "count"}, 2},
    {"safe", mark_safe},
    {"string", string},
    {"title", converted<title_words>},
    {"tojson", json, {"ensure_ascii", "indent", "separators", "sort_keys"}},
    {"trim", trim, {"chars"}},
    {"truncate", truncate, {"length", "killwords", "end", "leeway"}},
    {"upper", converted<to_upper>},
    {"urlencode", url_encode},
    {"wordcount", word_count},
};

}  // namespace

std::span<const Native> text_filters() {
  return kFilters;
}

}  // namespace sluice::jinja
