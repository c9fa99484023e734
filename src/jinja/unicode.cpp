#include "jinja/unicode.h"

#include <utf8proc.h>

#include <algorithm>

#include "core/utf8.h"

namespace sluice::jinja {

using core::is_utf8_continuation;

namespace {

bool is_ascii(char32_t code_point) {
  return code_point < 0x80;
}

utf8proc_category_t category(char32_t code_point) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code_point));
}

char32_t simple_lower(char32_t code_point) {
  if (is_ascii(code_point)) {
    return code_point >= 'A' && code_point <= 'Z' ? code_point + 32 : code_point;
  }
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code_point)));
}

char32_t simple_upper(char32_t code_point) {
  if (is_ascii(code_point)) {
    return code_point >= 'a' && code_point <= 'z' ? code_point - 32 : code_point;
  }
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code_point)));
}

// Capital I with dot above is the one letter whose small form has two code points.
void append_lower(std::string& text, char32_t code_point) {
  if (code_point == 0x130) {
    text += "i\u0307";
  } else {
    core::append_utf8(simple_lower(code_point), text);
  }
}

void append_upper(std::string& text, char32_t code_point) {
  if (code_point == 0xDF) {
    text += "SS";
  } else {
    core::append_utf8(simple_upper(code_point), text);
  }
}

void append_title(std::string& text, char32_t code_point) {
  if (code_point == 0xDF) {
    text += "Ss";
  } else {
    core::append_utf8(
        static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(code_point))), text);
  }
}

bool is_upper_letter(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LU || category(c) == UTF8PROC_CATEGORY_LT;
}
bool is_lower_letter(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LL || (!is_ascii(c) && simple_upper(c) != c);
}
bool is_cased(char32_t c) {
  return is_upper_letter(c) || is_lower_letter(c);
}

bool is_alpha(char32_t c) {
  if (is_ascii(c)) return (c | 32) >= 'a' && (c | 32) <= 'z';
  const auto group = category(c);
  return group >= UTF8PROC_CATEGORY_LU && group <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t c) {
  return is_ascii(c) ? c >= '0' && c <= '9' : category(c) == UTF8PROC_CATEGORY_ND;
}

// Superscripts, subscripts and circled digits have a digit's value without being decimal.
bool is_digit(char32_t c) {
  return is_decimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 ||
         (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089) ||
         (c >= 0x2460 && c <= 0x2468) || (c >= 0x2474 && c <= 0x247C);
}

bool is_numeric(char32_t c) {
  return is_digit(c) || category(c) == UTF8PROC_CATEGORY_NL || category(c) == UTF8PROC_CATEGORY_NO;
}

bool is_printable(char32_t c) {
  if (is_ascii(c)) return c >= 0x20 && c < 0x7F;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

template <typename Visit>
void each_code_point(std::string_view text, Visit visit) {
  for (size_t at = 0; at < text.size(); at = next_offset(text, at)) visit(code_point_at(text, at));
}

template <typename InSet>
std::string_view strip_if(std::string_view text, Side side, InSet in_set) {
  size_t begin = 0;
  size_t end = text.size();
  if (side != Side::kRight) {
    while (begin < end && in_set(begin)) begin = next_offset(text, begin);
  }
  if (side != Side::kLeft) {
    while (end > begin) {
      const size_t last = previous_offset(text, end);
      if (!in_set(last)) break;
      end = last;
    }
  }
  return text.substr(begin, end - begin);
}

}  // namespace

int64_t code_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char byte) { return !is_utf8_continuation(byte); }) +
         (!text.empty() && is_utf8_continuation(text[0]) ? 1 : 0);
}

size_t next_offset(std::string_view text, size_t offset) {
  ++offset;
  while (offset < text.size() && is_utf8_continuation(text[offset])) ++offset;
  return offset;
}

size_t previous_offset(std::string_view text, size_t offset) {
  --offset;
  while (offset > 0 && is_utf8_continuation(text[offset])) --offset;
  return offset;
}

size_t offset_of(std::string_view text, int64_t index) {
  size_t offset = 0;
  for (; index > 0 && offset < text.size(); --index) offset = next_offset(text, offset);
  return std::min(offset, text.size());
}

char32_t code_point_at(std::string_view text, size_t offset) {
  return core::decode_utf8(text.substr(offset)).code_point;
}

bool is_space(char32_t c) {
  if (is_ascii(c)) return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string_view strip(std::string_view text, Side side) {
  return strip_if(text, side, [&](size_t at) { return is_space(code_point_at(text, at)); });
}

std::string_view strip(std::string_view text, std::string_view characters, Side side) {
  std::vector<std::string_view> set;
  for (size_t at = 0; at < characters.size(); at = next_offset(characters, at)) {
    set.push_back(characters.substr(at, next_offset(characters, at) - at));
  }
  std::ranges::sort(set);
  return strip_if(text, side, [&](size_t at) {
    return std::ranges::binary_search(set, text.substr(at, next_offset(text, at) - at));
  });
}

std::string to_upper(std::string_view text) {
  std::string upper;
  upper.reserve(text.size());
  each_code_point(text, [&](char32_t c) { append_upper(upper, c); });
  return upper;
}

std::string to_lower(std::string_view text) {
  std::string lower;
  lower.reserve(text.size());
  each_code_point(text, [&](char32_t c) { append_lower(lower, c); });
  return lower;
}

std::string capitalize(std::string_view text) {
  if (text.empty()) return {};
  std::string capital;
  append_title(capital, code_point_at(text, 0));
  return capital + to_lower(text.substr(next_offset(text, 0)));
}

std::string title(std::string_view text) {
  std::string titled;
  bool after_letter = false;
  each_code_point(text, [&](char32_t c) {
    after_letter ? append_lower(titled, c) : append_title(titled, c);
    after_letter = is_cased(c);
  });
  return titled;
}

std::string swap_case(std::string_view text) {
  std::string swapped;
  each_code_point(text, [&](char32_t c) {
    is_upper_letter(c) ? append_lower(swapped, c) : append_upper(swapped, c);
  });
  return swapped;
}

std::vector<std::string_view> split_lines(std::string_view text, LineEnds ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = code_point_at(text, at);
    const size_t end = at;
    at = next_offset(text, at);
    const bool is_end = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
                        c == 0x2028 || c == 0x2029;
    if (!is_end) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.push_back(text.substr(begin, (ends == LineEnds::kKeep ? at : end) - begin));
    begin = at;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

bool is_in_class(char32_t c, CharacterClass character_class) {
  switch (character_class) {
    case CharacterClass::kAlpha:
      return is_alpha(c);
    case CharacterClass::kDecimal:
      return is_decimal(c);
    case CharacterClass::kDigit:
      return is_digit(c);
    case CharacterClass::kNumeric:
      return is_numeric(c);
    case CharacterClass::kAlnum:
      return is_alpha(c) || is_numeric(c);
    case CharacterClass::kSpace:
      return is_space(c);
    case CharacterClass::kAscii:
      return is_ascii(c);
    case CharacterClass::kPrintable:
      return is_printable(c);
  }
  return false;
}

bool all_in_class(std::string_view text, CharacterClass character_class) {
  const bool empty_counts =
      character_class == CharacterClass::kAscii || character_class == CharacterClass::kPrintable;
  if (text.empty()) return empty_counts;
  bool all = true;
  each_code_point(text, [&](char32_t c) { all = all && is_in_class(c, character_class); });
  return all;
}

bool is_upper(std::string_view text) {
  bool upper = false;
  bool lower = false;
  each_code_point(text, [&](char32_t c) {
    upper = upper || category(c) == UTF8PROC_CATEGORY_LU;
    lower = lower || is_lower_letter(c) || category(c) == UTF8PROC_CATEGORY_LT;
  });
  return upper && !lower;
}

bool is_lower(std::string_view text) {
  bool upper = false;
  bool lower = false;
  each_code_point(text, [&](char32_t c) {
    upper = upper || is_upper_letter(c);
    lower = lower || is_lower_letter(c);
  });
  return lower && !upper;
}

}  // namespace sluice::jinja
