// UTF-8, well-formed after Unicode 15, table 3-7: no overlong forms, no surrogates, nothing above
// U+10FFFF.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::core {

inline constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";
inline constexpr char32_t kReplacementCodePoint = 0xfffd;

// A byte that stands behind the first of a character.
constexpr bool is_utf8_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

// Bytes of the characters that start with `lead` (1 to 4); 0 where none does.
constexpr int32_t utf8_bytes_from_lead(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  if (byte < 0x80) return 1;
  if (byte < 0xc2 || byte > 0xf4) return 0;
  return byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

// Whether some character of more than one byte starts with `lead` and `second`.
constexpr bool may_follow_utf8_lead(char lead, char second) {
  if (!is_utf8_continuation(second)) return false;
  const auto byte = static_cast<unsigned char>(second);
  switch (static_cast<unsigned char>(lead)) {
    case 0xe0:
      return byte >= 0xa0;  // below: overlong
    case 0xed:
      return byte <= 0x9f;  // above: surrogates
    case 0xf0:
      return byte >= 0x90;  // below: overlong
    case 0xf4:
      return byte <= 0x8f;  // above: no code points
    default:
      return true;
  }
}

struct Utf8Character {
  char32_t code_point = kReplacementCodePoint;
  int32_t size_bytes = 0;  // 0: there is no well-formed character
};

// The character at the start of `text`.
constexpr Utf8Character decode_utf8(std::string_view text) {
  if (text.empty()) return {};
  const char lead = text[0];
  const int32_t bytes = utf8_bytes_from_lead(lead);
  const auto bits = [&](size_t at) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[at]) & 0x3f);
  };
  if (bytes == 1) return {static_cast<char32_t>(lead), 1};
  if (bytes == 0 || text.size() < static_cast<size_t>(bytes)) return {};
  if (!may_follow_utf8_lead(lead, text[1])) return {};
  if (bytes == 2) return {(bits(0) & 0x1f) << 6 | bits(1), 2};
  if (!is_utf8_continuation(text[2])) return {};
  if (bytes == 3) return {(bits(0) & 0x0f) << 12 | bits(1) << 6 | bits(2), 3};
  if (!is_utf8_continuation(text[3])) return {};
  return {(bits(0) & 0x07) << 18 | bits(1) << 12 | bits(2) << 6 | bits(3), 4};
}

// Bytes of the character at the start of `text` (1 to 4); 0 where there is none.
constexpr int64_t utf8_character_bytes(std::string_view text) {
  return decode_utf8(text).size_bytes;
}

bool is_utf8(std::string_view text);

// U+FFFD for what is no character (surrogates, above U+10FFFF).
void append_utf8(char32_t code_point, std::string& out);

}  // namespace sluice::core
