#include "tokenizer/unicode.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "core/utf8.h"
#include "tests/tokenizer/random_text.h"

namespace sluice::tokenizer {
namespace {

std::string utf8(uint32_t code_point) {
  std::string text;
  core::append_utf8(code_point, text);
  return text;
}

Char read(const std::string& text) {
  return read_char(text.data(), text.data() + text.size());
}

std::string nfc_of_utf8proc(const std::string& text) {
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> normal(
      utf8proc_NFC(reinterpret_cast<const utf8proc_uint8_t*>(text.c_str())), &std::free);
  return reinterpret_cast<const char*>(normal.get());
}

TEST(Unicode, ReadsEveryCodePoint) {
  for (uint32_t c = 0; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    const std::string text = utf8(c);
    const Char read_back = read(text);
    ASSERT_EQ(read_back.code_point, c);
    ASSERT_EQ(read_back.size_bytes, std::ssize(text));
    ASSERT_EQ(char_size_bytes(text.data(), text.data() + text.size()), std::ssize(text));
  }
}

TEST(Unicode, WhatIsNoCharacterIsOneByte) {
  for (const std::string text :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe4\xb8",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xe4\xb8\x41"}) {
    const Char c = read(text);
    EXPECT_EQ(c.code_point, kInvalidCodePoint);
    EXPECT_EQ(c.size_bytes, 1);
    EXPECT_EQ(c.classes, 0);
  }
}

TEST(Unicode, TrailingSpaces) {
  const auto at = [](std::string_view text) { return trailing_spaces(text) - text.data(); };
  EXPECT_EQ(at(""), 0);
  EXPECT_EQ(at("a"), 1);
  EXPECT_EQ(at("a \n"), 1);
  EXPECT_EQ(at(" \u3000\u00a0"), 0);
  EXPECT_EQ(at("é \u3000\x80"), 7);  // the last byte is no character
  EXPECT_EQ(at("中\u2003"), 3);
}

TEST(Unicode, NormalizesAsTheWholeText) {
  constexpr uint64_t kSeed = 5;
  core::Rng rng(kSeed);
  constexpr uint32_t kCombining[] = {0x300,  0x301,  0x323,  0x327,  0x345,  0x1100, 0x1161,
                                     0x11a8, 0xac00, 0x3099, 0x304b, 0x1e0b, 0x302a, 0x302f,
                                     0x212b, 0x958,  0xfb1d, 0x9c7,  0x9be,  0x200d, 'a',
                                     'e',    0x3b1,  0x1fbe, 0x2126, 0xf900};
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (int64_t n = rng.below(12); n >= 0; --n)
      core::append_utf8(rng.below(3) == 0 ? 'a' + static_cast<uint32_t>(rng.below(5))
                                          : kCombining[rng.below(std::size(kCombining))],
                        text);
    const std::string expected = nfc_of_utf8proc(text);
    ASSERT_EQ(to_nfc(text), expected) << "seed " << kSeed << ", text " << i;
    if (is_surely_nfc(text)) {
      ASSERT_EQ(text, expected);
    }
  }
}

// What may change places with its neighbours is never passed over.
TEST(Unicode, NoCombiningMarkIsSurelyNormal) {
  for (uint32_t c = 0; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    const auto* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
    ASSERT_FALSE(property->combining_class != 0 && is_surely_nfc(utf8(c))) << c;
  }
}

TEST(Unicode, EachCodePointNormalizesAsAlone) {
  for (uint32_t c = 1; c <= 0x10ffff; ++c) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    for (const std::string& text : {utf8(c), "o" + utf8(c), utf8(c) + "\u0301"})
      ASSERT_EQ(to_nfc(text), nfc_of_utf8proc(text)) << c;
  }
}

TEST(Unicode, NormalizationKeepsBytesThatAreNoCharacters) {
  EXPECT_EQ(to_nfc("\xff"
                   "e\u0301\xc3"),
            "\xff\u00e9\xc3");
  EXPECT_EQ(to_nfc("e\xff\u0301"), "e\xff\u0301");
  EXPECT_EQ(to_nfc(std::string("e\u0301\0e\u0301", 7)), std::string("\u00e9\0\u00e9", 5));
}

}  // namespace
}  // namespace sluice::tokenizer
