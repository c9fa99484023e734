#include "jinja/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <optional>

#include "core/utf8.h"
#include "jinja/unicode.h"

namespace sluice::jinja {
namespace {

using core::Error;
using core::Result;

// "\r\n" and "\r" become "\n"; one line end at the end of the template is not part of it.
std::string normalize_lines(std::string_view source) {
  std::string lines;
  lines.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      lines += source[i];
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      lines += '\n';
    }
  }
  if (lines.ends_with('\n')) lines.pop_back();
  return lines;
}

bool is_name_start(char c) {
  return c == '_' || ((c | 32) >= 'a' && (c | 32) <= 'z') || static_cast<unsigned char>(c) >= 0x80;
}
bool is_decimal_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_part(char c) {
  return is_name_start(c) || is_decimal_digit(c);
}

int digit_value(char c) {
  if (is_decimal_digit(c)) return c - '0';
  const char lower = static_cast<char>(c | 32);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 99;
}

// Longest first.
constexpr std::array<std::string_view, 26> kOperators = {
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
    "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

class Lexer {
 public:
  explicit Lexer(std::string_view source) : text_(normalize_lines(source)) {}

  Result<std::vector<Token>> run();

 private:
  // What stands where text ends and a tag begins.
  struct Opening {
    size_t begin = 0;   // of the tag
    size_t inside = 0;  // behind "{%-"
    char kind = 0;      // '{', '%', '#'; 'r' for {% raw %}; 0 = no more tags
    char sign = 0;      // '-', '+' or 0
  };

  Opening find_opening(size_t from) const;
  std::optional<size_t> match_raw_begin(size_t after_sign) const;
  void push_data(size_t begin, size_t end);
  void push_text_before(const Opening& opening);
  Result<void> skip_comment();
  Result<void> read_raw();
  Result<void> read_tag(char kind);
  std::optional<size_t> match_tag_end(char kind, size_t at) const;
  Result<void> read_token();
  Result<void> read_number();
  void take_digits(std::string& digits, int base);
  int take_base_prefix();
  bool take_fraction(std::string& digits);
  Result<void> read_string();
  Result<void> read_operator();
  Result<size_t> append_escape(std::string& out, size_t at);

  size_t after_space(size_t at) const;
  size_t after_newline(size_t at) const { return starts_with(at, "\n") ? at + 1 : at; }
  bool starts_with(size_t at, std::string_view what) const {
    return at <= text_.size() && std::string_view(text_).substr(at).starts_with(what);
  }
  Position position(size_t at);
  Error error(size_t at, std::string_view message) { return syntax_error(position(at), message); }
  void push(TokenKind kind, size_t at, std::string text = {}) {
    tokens_.push_back({.kind = kind, .at = position(at), .text = std::move(text)});
  }

  std::string text_;
  size_t at_ = 0;
  bool line_start_ = true;  // the last piece ended with a line end (or there was none)
  std::string closers_;     // brackets that are open in this tag
  std::vector<Token> tokens_;
  size_t counted_to_ = 0;  // position() counts lines from here on
  size_t line_begin_ = 0;
  int line_ = 1;
};

Position Lexer::position(size_t at) {
  if (at < counted_to_) {
    counted_to_ = line_begin_ = 0;
    line_ = 1;
  }
  for (; counted_to_ < at; ++counted_to_) {
    if (text_[counted_to_] != '\n') continue;
    ++line_;
    line_begin_ = counted_to_ + 1;
  }
  return {.line = line_, .column = static_cast<int>(at - line_begin_) + 1};
}

size_t Lexer::after_space(size_t at) const {
  while (at < text_.size() && is_space(code_point_at(text_, at))) at = next_offset(text_, at);
  return at;
}

// {%- raw %} may only be followed by its own end: everything in between is text.
std::optional<size_t> Lexer::match_raw_begin(size_t after_sign) const {
  size_t at = after_space(after_sign);
  if (!starts_with(at, "raw")) return std::nullopt;
  at = after_space(at + 3);
  if (starts_with(at, "%}")) return at + 2;
  if (starts_with(at, "-%}")) return after_space(at + 3);
  return std::nullopt;
}

Lexer::Opening Lexer::find_opening(size_t from) const {
  for (size_t at = text_.find('{', from); at != std::string::npos; at = text_.find('{', at + 1)) {
    if (at + 1 == text_.size()) break;
    const char kind = text_[at + 1];
    if (kind != '{' && kind != '%' && kind != '#') continue;
    Opening opening{.begin = at, .inside = at + 2, .kind = kind};
    const char sign = at + 2 < text_.size() ? text_[at + 2] : '\0';
    if (sign == '-' || sign == '+') {
      opening.sign = sign;
      ++opening.inside;
    }
    return opening;
  }
  return {.begin = text_.size(), .inside = text_.size()};
}

void Lexer::push_data(size_t begin, size_t end) {
  if (end > begin) push(TokenKind::kData, begin, text_.substr(begin, end - begin));
}

// The text from at_ up to a tag, less the whitespace that the tag takes away.
void Lexer::push_text_before(const Opening& opening) {
  const std::string_view piece(text_.data() + at_, opening.begin - at_);
  size_t end = opening.begin;
  if (opening.sign == '-') {
    end = at_ + strip(piece, Side::kRight).size();
  } else if (opening.sign != '+' && opening.kind != '{') {
    const size_t newline = piece.rfind('\n');
    const size_t last_line = newline == std::string_view::npos ? 0 : newline + 1;
    if ((last_line > 0 || line_start_) && strip(piece.substr(last_line)).empty()) {
      end = at_ + last_line;
    }
  }
  push_data(at_, end);
}

Result<std::vector<Token>> Lexer::run() {
  while (at_ < text_.size()) {
    Opening opening = find_opening(at_);
    if (opening.kind == 0) {
      push_data(at_, text_.size());
      break;
    }
    if (opening.kind == '%') {
      if (const auto raw = match_raw_begin(opening.inside)) {
        opening.kind = 'r';
        opening.inside = *raw;
      }
    }
    push_text_before(opening);
    line_start_ = text_[opening.inside - 1] == '\n';
    at_ = opening.inside;
    if (opening.kind == '#') {
      TRY(skip_comment());
    } else if (opening.kind == 'r') {
      TRY(read_raw());
    } else {
      push(opening.kind == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, opening.begin);
      TRY(read_tag(opening.kind));
    }
  }
  push(TokenKind::kEnd, text_.size());
  return std::move(tokens_);
}

Result<void> Lexer::skip_comment() {
  if (at_ == text_.size()) return {};  // jinja2 takes a template that ends here
  const size_t end = text_.find("#}", at_);
  if (end == std::string::npos) return error(at_, "missing end of comment tag");
  const char sign = end > at_ ? text_[end - 1] : '\0';
  at_ = end + 2;
  if (sign == '-') {
    at_ = after_space(at_);
  } else if (sign != '+') {
    at_ = after_newline(at_);
  }
  line_start_ = text_[at_ - 1] == '\n';
  return {};
}

Result<void> Lexer::read_raw() {
  if (at_ == text_.size()) return {};  // as above
  for (size_t tag = text_.find("{%", at_); tag != std::string::npos;
       tag = text_.find("{%", tag + 1)) {
    Opening opening{.begin = tag, .inside = tag + 2, .kind = 'r'};
    if (starts_with(opening.inside, "-") || starts_with(opening.inside, "+")) {
      opening.sign = text_[opening.inside++];
    }
    const size_t name = after_space(opening.inside);
    if (!starts_with(name, "endraw")) continue;
    const auto behind = match_tag_end('%', after_space(name + 6));
    if (!behind) continue;
    push_text_before(opening);
    at_ = *behind;
    line_start_ = text_[at_ - 1] == '\n';
    return {};
  }
  return error(at_, "missing end of raw directive");
}

// The offset behind "%}" or "}}" with its sign, where one stands at `at`.
std::optional<size_t> Lexer::match_tag_end(char kind, size_t at) const {
  const std::string_view closing = kind == '{' ? "}}" : "%}";
  if (starts_with(at, "-") && starts_with(at + 1, closing)) return after_space(at + 3);
  if (kind == '%' && starts_with(at, "+") && starts_with(at + 1, closing)) return at + 3;
  if (!starts_with(at, closing)) return std::nullopt;
  return kind == '%' ? after_newline(at + 2) : at + 2;
}

Result<void> Lexer::read_tag(char kind) {
  closers_.clear();
  while (at_ < text_.size()) {
    if (closers_.empty()) {
      if (const auto behind = match_tag_end(kind, at_)) {
        push(kind == '{' ? TokenKind::kVariableEnd : TokenKind::kBlockEnd, at_);
        at_ = *behind;
        line_start_ = text_[at_ - 1] == '\n';
        return {};
      }
    }
    if (is_space(code_point_at(text_, at_))) {
      at_ = after_space(at_);
      continue;
    }
    TRY(read_token());
  }
  return {};  // the parser reports what is missing
}

Result<void> Lexer::read_token() {
  const char c = text_[at_];
  if (is_decimal_digit(c)) return read_number();
  if (c == '\'' || c == '"') return read_string();
  if (!is_name_start(c)) return read_operator();
  const size_t begin = at_;
  while (at_ < text_.size() && is_name_part(text_[at_])) ++at_;
  push(TokenKind::kName, begin, text_.substr(begin, at_ - begin));
  return {};
}

// Appends digits of a base, less the underscores between them.
void Lexer::take_digits(std::string& digits, int base) {
  while (at_ < text_.size()) {
    const bool underscore =
        text_[at_] == '_' && at_ + 1 < text_.size() && digit_value(text_[at_ + 1]) < base;
    if (!underscore && digit_value(text_[at_]) >= base) break;
    if (!underscore) digits += text_[at_];
    ++at_;
  }
}

// 2, 8 or 16 and moves behind "0b", "0o" or "0x"; otherwise 10.
int Lexer::take_base_prefix() {
  if (text_[at_] != '0' || at_ + 1 >= text_.size()) return 10;
  const char letter = static_cast<char>(text_[at_ + 1] | 32);
  const int base = letter == 'b' ? 2 : letter == 'o' ? 8 : letter == 'x' ? 16 : 10;
  const size_t first = at_ + 2 + (starts_with(at_ + 2, "_") ? 1 : 0);
  if (base == 10 || first >= text_.size() || digit_value(text_[first]) >= base) return 10;
  at_ = first;
  return base;
}

// The fraction and power of ten of a number whose integer part has been read.
bool Lexer::take_fraction(std::string& digits) {
  const auto is_digit_at = [&](size_t at) {
    return at < text_.size() && is_decimal_digit(text_[at]);
  };
  bool real = false;
  if (starts_with(at_, ".") && is_digit_at(at_ + 1)) {
    real = true;
    digits += text_[at_++];
    take_digits(digits, 10);
  }
  if (starts_with(at_, "e") || starts_with(at_, "E")) {
    const bool has_sign = starts_with(at_ + 1, "+") || starts_with(at_ + 1, "-");
    const size_t power = at_ + (has_sign ? 2 : 1);
    if (is_digit_at(power)) {
      real = true;
      digits.append(text_, at_, power - at_);
      at_ = power;
      take_digits(digits, 10);
    }
  }
  return real;
}

Result<void> Lexer::read_number() {
  const size_t begin = at_;
  const int base = take_base_prefix();
  std::string digits;
  take_digits(digits, base);
  // "rows.0.1" asks for two items; the 0.1 in it is not a number.
  const bool after_dot = begin > 0 && text_[begin - 1] == '.';
  const bool real = base == 10 && !after_dot && take_fraction(digits);
  push(real ? TokenKind::kReal : TokenKind::kInteger, begin);
  if (real) {
    tokens_.back().real = std::strtod(digits.c_str(), nullptr);
    return {};
  }
  if (base == 10 && digits[0] == '0' && digits.find_first_not_of('0') != std::string::npos) {
    return error(begin, "a number may not start with 0");
  }
  const auto parsed =
      std::from_chars(digits.data(), digits.data() + digits.size(), tokens_.back().integer, base);
  if (parsed.ec != std::errc()) return error(begin, "the integer does not fit into 64 bits");
  return {};
}

// Reads the escape at `at` (behind the backslash), returns the offset behind it. Unknown escapes
// stay as they are, as in Python.
Result<size_t> Lexer::append_escape(std::string& out, size_t at) {
  constexpr std::string_view kNames = "abfnrtv\\'\"";
  constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\'\"";
  const char c = text_[at];
  if (const size_t simple = kNames.find(c); simple != std::string_view::npos) {
    out += kValues[simple];
    return at + 1;
  }
  if (c == '\n') return at + 1;
  uint32_t code_point = 0;
  if (c >= '0' && c <= '7') {
    size_t end = at;
    for (; end < at + 3 && end < text_.size() && text_[end] >= '0' && text_[end] <= '7'; ++end) {
      code_point = code_point * 8 + static_cast<uint32_t>(text_[end] - '0');
    }
    core::append_utf8(code_point, out);
    return end;
  }
  const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (digits == 0) {
    if (c == 'N') return error(at, "character names in strings are not supported");
    out += '\\';
    return at;
  }
  for (size_t i = 1; i <= digits; ++i) {
    if (at + i >= text_.size() || digit_value(text_[at + i]) >= 16) {
      return error(at, fmt::format("truncated \\{} escape", c));
    }
    code_point = code_point * 16 + static_cast<uint32_t>(digit_value(text_[at + i]));
  }
  if (code_point > 0x10FFFF) return error(at, "illegal Unicode character");
  core::append_utf8(code_point, out);
  return at + 1 + digits;
}

Result<void> Lexer::read_string() {
  const size_t begin = at_;
  const char quote = text_[at_++];
  std::string value;
  while (at_ < text_.size() && text_[at_] != quote) {
    if (text_[at_] != '\\') {
      value += text_[at_++];
    } else if (at_ + 1 < text_.size()) {
      at_ = TRY(append_escape(value, at_ + 1));
    } else {
      break;
    }
  }
  if (at_ >= text_.size() || text_[at_] != quote) return error(begin, "the string does not end");
  ++at_;
  push(TokenKind::kString, begin, std::move(value));
  return {};
}

Result<void> Lexer::read_operator() {
  for (const std::string_view op : kOperators) {
    if (!starts_with(at_, op)) continue;
    const size_t begin = at_;
    if (op == "(" || op == "[" || op == "{") {
      closers_ += op == "(" ? ')' : op == "[" ? ']' : '}';
    } else if (op == ")" || op == "]" || op == "}") {
      if (closers_.empty()) return error(begin, fmt::format("unexpected '{}'", op));
      if (closers_.back() != op[0]) {
        return error(begin, fmt::format("unexpected '{}', expected '{}'", op, closers_.back()));
      }
      closers_.pop_back();
    }
    at_ += op.size();
    push(TokenKind::kOp, begin, std::string(op));
    return {};
  }
  const size_t end = next_offset(text_, at_);
  return error(at_, fmt::format("unexpected character '{}'", text_.substr(at_, end - at_)));
}

}  // namespace

Error syntax_error(Position at, std::string_view message) {
  return core::invalid("line {}, column {}: {}", at.line, at.column, message);
}

Result<std::vector<Token>> tokenize(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace sluice::jinja
