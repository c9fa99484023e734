// Which byte may stand where in HTTP/1.1 (RFC 9110 §5.6.2, §5.5; RFC 3986 §3.2.2).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::net {

enum CharacterClass : uint8_t {
  kTokenCharacter = 1,   // method and header names
  kValueCharacter = 2,   // header values: visible, space, tab, and bytes from 0x80
  kTargetCharacter = 4,  // request target: visible ASCII without '#'
  kHostCharacter = 8,
};

consteval std::array<uint8_t, 256> make_character_classes() {
  std::array<uint8_t, 256> classes{};
  const auto add = [&](std::string_view characters, uint8_t bit) {
    for (char c : characters) classes[static_cast<uint8_t>(c)] |= bit;
  };
  constexpr std::string_view kAlphanumeric =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  add(kAlphanumeric, kTokenCharacter | kHostCharacter);
  add("!#$%&'*+-.^_`|~", kTokenCharacter);
  add("-._~:[]%!$&'()*+;=", kHostCharacter);
  for (int c = 0x20; c < 0x100; ++c)
    if (c != 0x7f) classes[static_cast<size_t>(c)] |= kValueCharacter;
  classes['\t'] |= kValueCharacter;
  for (int c = 0x21; c < 0x7f; ++c)
    if (c != '#') classes[static_cast<size_t>(c)] |= kTargetCharacter;
  return classes;
}
inline constexpr std::array<uint8_t, 256> kCharacterClasses = make_character_classes();

// Every character of `text` is of that class.
inline bool all_are(std::string_view text, CharacterClass wanted) {
  uint8_t common = wanted;
  for (char c : text) common &= kCharacterClasses[static_cast<uint8_t>(c)];
  return common != 0;
}

constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

constexpr int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char l = lower(c);
  return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

// Without spaces and tabs at both ends.
constexpr std::string_view trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

// A size as the limits count.
constexpr int64_t bytes(size_t count) {
  return static_cast<int64_t>(count);
}

}  // namespace sluice::net
