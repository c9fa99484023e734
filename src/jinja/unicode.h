// Text as code points: Python's str methods over UTF-8. A code point starts at each byte that is
// not a continuation byte, so that malformed text has a length and can be cut, too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::jinja {

// Number of code points.
int64_t code_points(std::string_view text);

// Byte offset of the code point after the one at `offset`.
size_t next_offset(std::string_view text, size_t offset);

// Byte offset of code point `index`; text.size() where there are no more.
size_t offset_of(std::string_view text, int64_t index);

// Byte offset of the code point before `offset`, which is over 0.
size_t previous_offset(std::string_view text, size_t offset);

// The code point at a byte offset; U+FFFD where malformed.
char32_t code_point_at(std::string_view text, size_t offset);

// Python's str.isspace of one character.
bool is_space(char32_t code_point);

enum class Side { kBoth, kLeft, kRight };

std::string_view strip(std::string_view text, Side side = Side::kBoth);
// Strips every code point that occurs in `characters`.
std::string_view strip(std::string_view text, std::string_view characters, Side side);

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
// First character in title case, the rest in lower case.
std::string capitalize(std::string_view text);
// Each letter after a non-letter in title case, the others in lower case (str.title).
std::string title(std::string_view text);
std::string swap_case(std::string_view text);

enum class LineEnds { kDrop, kKeep };
// Without the empty line behind the last line end (str.splitlines).
std::vector<std::string_view> split_lines(std::string_view text, LineEnds ends = LineEnds::kDrop);

// What str.isalpha(), isdigit() … ask of each character.
enum class CharacterClass {
  kAlpha,
  kDecimal,
  kDigit,
  kNumeric,
  kAlnum,
  kSpace,
  kAscii,
  kPrintable
};
bool is_in_class(char32_t code_point, CharacterClass character_class);
// Every character is in the class, and there is at least one (none needed for ascii and printable).
bool all_in_class(std::string_view text, CharacterClass character_class);

// At least one cased letter, and no letter of the other case.
bool is_upper(std::string_view text);
bool is_lower(std::string_view text);

}  // namespace sluice::jinja
