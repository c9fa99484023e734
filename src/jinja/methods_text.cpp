// The methods of strings.
#include <algorithm>
#include <limits>

#include "jinja/format.h"
#include "jinja/loop.h"
#include "jinja/number_format.h"
#include "jinja/operators.h"
#include "jinja/support.h"
#include "jinja/text.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

using core::Result;

namespace {

template <std::string (*kConvert)(std::string_view)>
Result<Value> converted(Render& render, const Value& self, const Bound&) {
  TRY(render.charge_bytes(self.as_string().size()));
  return string_like(self, kConvert(self.as_string()));
}

template <CharacterClass kClass>
Result<Value> is_class(Render& render, const Value& self, const Bound&) {
  TRY(render.charge_bytes(self.as_string().size()));
  return Value::boolean(all_in_class(self.as_string(), kClass));
}

Result<Value> is_lower_case(Render& render, const Value& self, const Bound&) {
  TRY(render.charge_bytes(std::ssize(self.as_string())));
  return Value::boolean(is_lower(self.as_string()));
}
Result<Value> is_upper_case(Render& render, const Value& self, const Bound&) {
  TRY(render.charge_bytes(std::ssize(self.as_string())));
  return Value::boolean(is_upper(self.as_string()));
}
Result<Value> is_title_case(Render& render, const Value& self, const Bound&) {
  const std::string& text = self.as_string();
  TRY(render.charge_bytes(std::ssize(text)));
  return Value::boolean(title(text) == text && to_upper(text) != to_lower(text));
}

template <Side kSide>
Result<Value> stripped(Render& render, const Value& self, const Bound& arguments) {
  const std::string& text = self.as_string();
  TRY(render.charge_bytes(text.size()));
  if (!is_given(arguments[0])) return string_like(self, std::string(strip(text, kSide)));
  const std::string_view characters = TRY(string_of(*arguments[0], "strip arg"));
  TRY(render.charge_bytes(std::ssize(characters)));
  return string_like(self, std::string(strip(text, characters, kSide)));
}

constexpr int64_t kNoMax = std::numeric_limits<int64_t>::max();

// --- splitting -----------------------------------------------------------------------------------

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator,
                                       int64_t splits_max) {
  std::vector<std::string_view> parts;
  size_t begin = 0;
  for (; splits_max != 0; --splits_max) {
    const size_t found = text.find(separator, begin);
    if (found == std::string_view::npos) break;
    parts.push_back(text.substr(begin, found - begin));
    begin = found + separator.size();
  }
  parts.push_back(text.substr(begin));
  return parts;
}

std::vector<std::string_view> split_at_from_right(std::string_view text, std::string_view separator,
                                                  int64_t splits_max) {
  std::vector<std::string_view> parts;
  for (; splits_max != 0; --splits_max) {
    const size_t found = text.rfind(separator);
    if (found == std::string_view::npos) break;
    parts.push_back(text.substr(found + separator.size()));
    text = text.substr(0, found);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

// Words between white space.
std::vector<std::string_view> split_words(std::string_view text, int64_t splits_max) {
  std::vector<std::string_view> words;
  text = strip(text, Side::kLeft);
  for (; !text.empty() && splits_max != 0; --splits_max) {
    size_t end = 0;
    while (end < text.size() && !is_space(code_point_at(text, end))) end = next_offset(text, end);
    words.push_back(text.substr(0, end));
    text = strip(text.substr(end), Side::kLeft);
  }
  if (!text.empty()) words.push_back(text);
  return words;
}

std::vector<std::string_view> split_words_from_right(std::string_view text, int64_t splits_max) {
  std::vector<std::string_view> words;
  text = strip(text, Side::kRight);
  for (; !text.empty() && splits_max != 0; --splits_max) {
    size_t begin = text.size();
    while (begin > 0) {
      const size_t before = previous_offset(text, begin);
      if (is_space(code_point_at(text, before))) break;
      begin = before;
    }
    words.push_back(text.substr(begin));
    text = strip(text.substr(0, begin), Side::kRight);
  }
  if (!text.empty()) words.push_back(text);
  std::reverse(words.begin(), words.end());
  return words;
}

Result<Value> list_of(Render& render, const Value& self,
                      const std::vector<std::string_view>& parts) {
  TRY(render.charge(static_cast<int64_t>(parts.size())));
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) items.push_back(string_like(self, std::string(part)));
  return Value::list(std::move(items));
}

enum class From { kLeft, kRight };
template <From kFrom>
Result<Value> split(Render& render, const Value& self, const Bound& arguments) {
  const std::string& text = self.as_string();
  TRY(render.charge_bytes(text.size()));
  const int64_t given_max = TRY(integer_or(arguments[1], -1));
  const int64_t splits_max = given_max < 0 ? kNoMax : given_max;
  if (!is_given(arguments[0])) {
    return list_of(render, self,
                   kFrom == From::kLeft ? split_words(text, splits_max)
                                        : split_words_from_right(text, splits_max));
  }
  const std::string_view separator = TRY(string_of(*arguments[0], "the separator"));
  if (separator.empty()) return core::unsupported("empty separator");
  TRY(render.charge_search(text, separator));
  return list_of(render, self,
                 kFrom == From::kLeft ? split_at(text, separator, splits_max)
                                      : split_at_from_right(text, separator, splits_max));
}

Result<Value> lines(Render& render, const Value& self, const Bound& arguments) {
  const LineEnds ends = is_true(arguments[0]) ? LineEnds::kKeep : LineEnds::kDrop;
  TRY(render.charge_bytes(self.as_string().size()));
  return list_of(render, self, split_lines(self.as_string(), ends));
}

template <From kFrom>
Result<Value> partition(Render& render, const Value& self, const Bound& arguments) {
  const std::string& text = self.as_string();
  TRY(render.charge_bytes(text.size()));
  const std::string_view separator = TRY(string_of(*arguments[0], "the separator"));
  if (separator.empty()) return core::unsupported("empty separator");
  TRY(render.charge_search(text, separator));
  const size_t found = kFrom == From::kLeft ? text.find(separator) : text.rfind(separator);
  std::vector<Value> parts(3, Value::string(""));
  if (found == std::string::npos) {
    parts[kFrom == From::kLeft ? 0 : 2] = self;
  } else {
    parts = {string_like(self, text.substr(0, found)), string_like(self, std::string(separator)),
             string_like(self, text.substr(found + separator.size()))};
  }
  return Value::tuple(std::move(parts));
}

// --- searching -----------------------------------------------------------------------------------

// The part of a string that find(sub, start, end) looks at.
struct Window {
  int64_t start = 0;  // in code points
  int64_t end = 0;
  std::string_view text;
};

Result<Window> window_of(const Value& self, const Value* start, const Value* end) {
  const std::string& text = self.as_string();
  const int64_t length = code_points(text);
  const auto bound = [&](const Value* given, int64_t otherwise) -> Result<int64_t> {
    if (!is_given(given)) return otherwise;
    int64_t index = TRY(integer_of(*given));
    if (index < 0) index = std::max<int64_t>(std::max(index, -length - 1) + length, 0);
    return index;
  };
  Window window;
  window.start = TRY(bound(start, 0));
  window.end = std::min(TRY(bound(end, length)), length);
  if (window.start <= window.end) {
    const size_t begin = offset_of(text, window.start);
    const std::string_view rest = std::string_view(text).substr(begin);
    window.text = rest.substr(0, offset_of(rest, window.end - window.start));
  }
  return window;
}

// In code points from the beginning of the string; -1 where there is none.
template <From kFrom>
Result<int64_t> position(Render& render, const Value& self, const Bound& arguments) {
  TRY(render.charge_bytes(self.as_string().size()));
  const std::string_view wanted = TRY(string_of(*arguments[0], "what to find"));
  TRY(render.charge_search(self.as_string(), wanted));
  const Window window = TRY(window_of(self, arguments[1], arguments[2]));
  if (window.start > window.end) return -1;
  const size_t found = kFrom == From::kLeft ? window.text.find(wanted) : window.text.rfind(wanted);
  if (found == std::string_view::npos) return -1;
  return window.start + code_points(window.text.substr(0, found));
}

template <From kFrom>
Result<Value> find(Render& render, const Value& self, const Bound& arguments) {
  return Value::integer(TRY(position<kFrom>(render, self, arguments)));
}

template <From kFrom>
Result<Value> index(Render& render, const Value& self, const Bound& arguments) {
  const int64_t found = TRY(position<kFrom>(render, self, arguments));
  if (found < 0) return core::unsupported("substring not found");
  return Value::integer(found);
}

Result<Value> count(Render& render, const Value& self, const Bound& arguments) {
  TRY(render.charge_bytes(self.as_string().size()));
  const std::string_view wanted = TRY(string_of(*arguments[0], "what to count"));
  TRY(render.charge_search(self.as_string(), wanted));
  const Window window = TRY(window_of(self, arguments[1], arguments[2]));
  if (window.start > window.end) return Value::integer(0);
  if (wanted.empty()) return Value::integer(code_points(window.text) + 1);
  const size_t parts = split_at(window.text, wanted, kNoMax).size();
  return Value::integer(static_cast<int64_t>(parts) - 1);
}

enum class Where { kStart, kEnd };
template <Where kWhere>
Result<Value> has_affix(Render& render, const Value& self, const Bound& arguments) {
  TRY(render.charge_bytes(std::ssize(self.as_string())));
  const Window window = TRY(window_of(self, arguments[1], arguments[2]));
  const Value& wanted = *arguments[0];
  std::vector<Value> affixes{wanted};
  if (wanted.is(Kind::kList) && wanted.as_list().kind == ListKind::kTuple) {
    affixes = wanted.as_list().items;
  }
  for (const Value& affix : affixes) {
    const std::string_view text = TRY(string_of(affix, "startswith/endswith first arg"));
    TRY(render.charge(1));
    TRY(render.charge_bytes(std::ssize(text)));
    if (window.start > window.end) continue;
    const bool has =
        kWhere == Where::kStart ? window.text.starts_with(text) : window.text.ends_with(text);
    if (has) return Value::boolean(true);
  }
  return Value::boolean(false);
}

// --- changing ------------------------------------------------------------------------------------

template <Where kWhere>
Result<Value> without_affix(Render& render, const Value& self, const Bound& arguments) {
  std::string_view text = self.as_string();
  TRY(render.charge_bytes(std::ssize(text)));
  const std::string_view affix = TRY(string_of(*arguments[0], "the affix"));
  if (kWhere == Where::kStart && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (kWhere == Where::kEnd && text.ends_with(affix)) text.remove_suffix(affix.size());
  return string_like(self, std::string(text));
}

Result<Value> replace(Render& render, const Value& self, const Bound& arguments) {
  const std::string_view old = TRY(string_of(*arguments[0], "replace() argument 1"));
  const std::string_view replacement = TRY(string_of(*arguments[1], "replace() argument 2"));
  const int64_t count = TRY(integer_or(arguments[2], -1));
  return string_like(self, TRY(replaced(render, self.as_string(), old, replacement, count)));
}

Result<Value> join(Render& render, const Value& self, const Bound& arguments) {
  std::string out;
  bool first = true;
  for (const Value& item : TRY(collect(render, *arguments[0]))) {
    if (!first) out += self.as_string();
    first = false;
    if (!item.is_string()) {
      return core::unsupported("sequence item: expected str instance, {} found", type_name(item));
    }
    out += item.as_string();
    TRY(render.check_string(std::ssize(out)));
  }
  TRY(render.charge_bytes(std::ssize(out)));
  return string_like(self, std::move(out));
}

template <char kAlign>
Result<Value> justified(Render& render, const Value& self, const Bound& arguments) {
  const int64_t width = std::max<int64_t>(TRY(integer_of(*arguments[0])), 0);
  const std::string_view fill =
      arguments[1] == nullptr ? " " : TRY(string_of(*arguments[1], "the fill character"));
  const std::string& text = self.as_string();
  TRY(render.charge_bytes(std::ssize(text) + std::ssize(fill)));
  if (code_points(fill) != 1) {
    return core::unsupported("The fill character must be exactly one character long");
  }
  TRY(render.charge_string(std::ssize(fill), width));
  if (kAlign != '^') return string_like(self, padded(text, width, kAlign, fill));
  // Python puts the odd character to the left where the width is odd.
  const int64_t missing = std::max<int64_t>(width - code_points(text), 0);
  const int64_t left = missing / 2 + (missing & width & 1);
  return string_like(self,
                     padded(padded(text, code_points(text) + left, '>', fill), width, '<', fill));
}

Result<Value> zero_filled(Render& render, const Value& self, const Bound& arguments) {
  const int64_t width = std::max<int64_t>(TRY(integer_of(*arguments[0])), 0);
  const std::string& text = self.as_string();
  TRY(render.charge_bytes(std::ssize(text)));
  TRY(render.charge_string(width));
  const bool has_sign = text.starts_with('-') || text.starts_with('+');
  const std::string sign = text.substr(0, has_sign ? 1 : 0);
  return string_like(self, sign + padded(text.substr(sign.size()),
                                         width - static_cast<int64_t>(sign.size()), '>', "0"));
}

Result<Value> expand_tabs(Render& render, const Value& self, const Bound& arguments) {
  const int64_t size = TRY(integer_or(arguments[0], 8));
  TRY(render.charge_bytes(std::ssize(self.as_string())));
  std::string out;
  int64_t column = 0;
  for (const char c : self.as_string()) {
    if (c == '\t') {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      TRY(render.charge_string(spaces));
      TRY(render.check_string(std::ssize(out) + spaces));
      out.append(static_cast<size_t>(spaces), ' ');
      column += spaces;
      continue;
    }
    out += c;
    const bool continues = (static_cast<unsigned char>(c) & 0xC0) == 0x80;
    column = c == '\n' || c == '\r' ? 0 : column + (continues ? 0 : 1);
  }
  return string_like(self, std::move(out));
}

Result<Value> format(Render& render, const Value& self, const Bound& arguments) {
  return string_like(self, TRY(format_braces(render, self.as_string(), arguments.all)));
}

constexpr Native kMethods[] = {
    {"capitalize", converted<capitalize>},
    {"casefold", converted<to_lower>},
    {"center", justified<'^'>, {"/width", "/fillchar"}, 1},
    {"count", count, {"/sub", "/start", "/end"}, 1},
    {"encode", nullptr},
    {"endswith", has_affix<Where::kEnd>, {"/suffix", "/start", "/end"}, 1},
    {"expandtabs", expand_tabs, {"tabsize"}},
    {"find", find<From::kLeft>, {"/sub", "/start", "/end"}, 1},
    {"format", format, {"*"}},
    {"format_map", nullptr},
    {"index", index<From::kLeft>, {"/sub", "/start", "/end"}, 1},
    {"isalnum", is_class<CharacterClass::kAlnum>},
    {"isalpha", is_class<CharacterClass::kAlpha>},
    {"isascii", is_class<CharacterClass::kAscii>},
    {"isdecimal", is_class<CharacterClass::kDecimal>},
    {"isdigit", is_class<CharacterClass::kDigit>},
    {"islower", is_lower_case},
    {"isnumeric", is_class<CharacterClass::kNumeric>},
    {"isprintable", is_class<CharacterClass::kPrintable>},
    {"isspace", is_class<CharacterClass::kSpace>},
    {"istitle", is_title_case},
    {"isupper", is_upper_case},
    {"join", join, {"/iterable"}, 1},
    {"ljust", justified<'<'>, {"/width", "/fillchar"}, 1},
    {"lower", converted<to_lower>},
    {"lstrip", stripped<Side::kLeft>, {"/chars"}},
    {"maketrans", nullptr},
    {"partition", partition<From::kLeft>, {"/sep"}, 1},
    {"removeprefix", without_affix<Where::kStart>, {"/prefix"}, 1},
    {"removesuffix", without_affix<Where::kEnd>, {"/suffix"}, 1},
    {"replace", replace, {"/old", "/new", "/count"}, 2},
    {"rfind", find<From::kRight>, {"/sub", "/start", "/end"}, 1},
    {"rindex", index<From::kRight>, {"/sub", "/start", "/end"}, 1},
    {"rjust", justified<'>'>, {"/width", "/fillchar"}, 1},
    {"rpartition", partition<From::kRight>, {"/sep"}, 1},
    {"rsplit", split<From::kRight>, {"sep", "maxsplit"}},
    {"rstrip", stripped<Side::kRight>, {"/chars"}},
    {"split", split<From::kLeft>, {"sep", "maxsplit"}},
    {"splitlines", lines, {"keepends"}},
    {"startswith", has_affix<Where::kStart>, {"/prefix", "/start", "/end"}, 1},
    {"strip", stripped<Side::kBoth>, {"/chars"}},
    {"swapcase", converted<swap_case>},
    {"title", converted<title>},
    {"translate", nullptr},
    {"upper", converted<to_upper>},
    {"zfill", zero_filled, {"/width"}, 1},
};

}  // namespace

std::span<const Native> text_methods() {
  return kMethods;
}

}  // namespace sluice::jinja
