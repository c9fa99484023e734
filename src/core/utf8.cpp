#include "core/utf8.h"

namespace sluice::core {

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const int64_t bytes = utf8_character_bytes(text);
    if (bytes == 0) return false;
    text.remove_prefix(static_cast<size_t>(bytes));
  }
  return true;
}

void append_utf8(char32_t c, std::string& out) {
  const auto continuation = [](char32_t bits) { return static_cast<char>(0x80 | (bits & 0x3f)); };
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += {static_cast<char>(0xc0 | c >> 6), continuation(c)};
  } else if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
    out += kReplacementCharacter;
  } else if (c < 0x10000) {
    out += {static_cast<char>(0xe0 | c >> 12), continuation(c >> 6), continuation(c)};
  } else {
    out += {static_cast<char>(0xf0 | c >> 18), continuation(c >> 12), continuation(c >> 6),
            continuation(c)};
  }
}

}  // namespace sluice::core
