#include "core/utf8.h"

#include <gtest/gtest.h>

namespace sluice::core {
namespace {

std::string utf8(char32_t code_point) {
  std::string text;
  append_utf8(code_point, text);
  return text;
}

TEST(Utf8, EveryCodePointComesBack) {
  for (char32_t c = 0; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    const std::string text = utf8(c);
    ASSERT_EQ(std::ssize(text), c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
    for (const std::string& with_more : {text, text + "a", text + "\x80"}) {
      const Utf8Character read = decode_utf8(with_more);
      ASSERT_EQ(read.code_point, c);
      ASSERT_EQ(read.size_bytes, std::ssize(text));
    }
    ASSERT_EQ(utf8_bytes_from_lead(text.front()), std::ssize(text));
    ASSERT_TRUE(is_utf8(text));
    for (size_t bytes = 1; bytes < text.size(); ++bytes) {
      ASSERT_EQ(utf8_character_bytes(std::string_view(text).substr(0, bytes)), 0);
      ASSERT_TRUE(is_utf8_continuation(text[bytes]));
    }
    ASSERT_TRUE(text.size() == 1 || may_follow_utf8_lead(text[0], text[1]));
  }
}

// All texts of two bytes, completed by what would make them long enough: 1,112,064 of all texts of
// up to four bytes are characters, and no others begin like them.
TEST(Utf8, OnlyBeginningsOfCharactersMayFollow) {
  int64_t characters = 0;
  for (int lead = 0; lead < 256; ++lead) {
    const char first = static_cast<char>(lead);
    const int32_t bytes = utf8_bytes_from_lead(first);
    if (bytes == 1) ++characters;
    for (int byte = 0; byte < 256 && bytes > 1; ++byte) {
      std::string text = {first, static_cast<char>(byte)};
      const bool may_follow = may_follow_utf8_lead(first, text[1]);
      text.resize(static_cast<size_t>(bytes), '\xbf');
      EXPECT_EQ(utf8_character_bytes(text) == bytes, may_follow) << lead << " " << byte;
      if (may_follow) characters += int64_t{1} << (6 * (bytes - 2));
    }
  }
  EXPECT_EQ(characters, 0x110000 - 0x800);
}

TEST(Utf8, WhatIsNoCharacterHasNoBytes) {
  for (const std::string_view text :
       {"", "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xe0\x80\x80", "\xe0\x9f\xbf",
        "\xed\xa0\x80", "\xe4\xb8", "\xe4\xb8\x41", "\xf0\x9f\x99", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    EXPECT_EQ(utf8_character_bytes(text), 0);
    EXPECT_EQ(decode_utf8(text).code_point, kReplacementCodePoint);
    EXPECT_EQ(is_utf8(text), text.empty());
    EXPECT_FALSE(is_utf8("ä" + std::string(text) + "x") && !text.empty());
  }
  for (const char32_t c : {0xd800, 0xdfff, 0x110000})
    EXPECT_EQ(utf8(c), std::string(kReplacementCharacter));
}

}  // namespace
}  // namespace sluice::core
