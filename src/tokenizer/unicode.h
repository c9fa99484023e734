// UTF-8 one character at a time, with the classes that the published pre-tokenizers name.
// Classes are the general categories of the Unicode version of utf8proc; \s is White_Space.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::tokenizer {

// A set of classes; a character is in at most one, except for line breaks (also spaces).
using CharClasses = uint8_t;
inline constexpr CharClasses kLetter = 1;       // \p{L}
inline constexpr CharClasses kNumber = 2;       // \p{N}
inline constexpr CharClasses kMark = 4;         // \p{M}
inline constexpr CharClasses kPunctuation = 8;  // \p{P}
inline constexpr CharClasses kSymbol = 16;      // \p{S}
inline constexpr CharClasses kSpace = 32;       // \s
inline constexpr CharClasses kLineBreak = 64;   // [\r\n]

// A byte that starts no valid character: no class, one byte long, kept as it is.
inline constexpr uint32_t kInvalidCodePoint = 0xffffffff;

struct Char {
  uint32_t code_point;
  int32_t size_bytes;
  CharClasses classes;
};

constexpr std::array<CharClasses, 128> ascii_classes() {
  std::array<CharClasses, 128> classes{};
  for (int c = 0; c < 128; ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool symbol =
        std::string_view("$+<=>^`|~").find(static_cast<char>(c)) != std::string_view::npos;
    if (letter)
      classes[c] = kLetter;
    else if (c >= '0' && c <= '9')
      classes[c] = kNumber;
    else if (c == '\r' || c == '\n')
      classes[c] = kSpace | kLineBreak;
    else if (c == ' ' || (c >= 9 && c <= 13))
      classes[c] = kSpace;
    else if (symbol)
      classes[c] = kSymbol;
    else if (c > ' ' && c < 127)
      classes[c] = kPunctuation;
  }
  return classes;
}
inline constexpr std::array<CharClasses, 128> kAsciiClasses = ascii_classes();

// The character at `begin`, which is not `end`.
Char read_multibyte_char(const char* begin, const char* end);
inline Char read_char(const char* begin, const char* end) {
  const auto byte = static_cast<unsigned char>(*begin);
  if (byte < 128) return {byte, 1, kAsciiClasses[byte]};
  return read_multibyte_char(begin, end);
}

// Bytes of the valid character at `begin`, 1 where there is none.
int32_t char_size_bytes(const char* begin, const char* end);

// Past the characters that are in one of `classes` (skip) or in none (skip_none).
const char* skip(const char* begin, const char* end, CharClasses classes);
const char* skip_none(const char* begin, const char* end, CharClasses classes);

// Start of the run of spaces that `text` ends with; its end where there is none.
const char* trailing_spaces(std::string_view text);

// Normalization form C (Unicode annex 15). Bytes that are not UTF-8 stay.
// True where `text` is known to be normalized without being worked through.
bool is_surely_nfc(std::string_view text);
std::string to_nfc(std::string_view text);

}  // namespace sluice::tokenizer
