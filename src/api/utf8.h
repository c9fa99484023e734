// Where characters begin and end in UTF-8 (Unicode 15, table 3-7).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::api {

inline constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";

// Bytes of the well-formed character at the start of `text` (1 to 4); 0 where there is none.
int64_t utf8_character_bytes(std::string_view text);

bool is_utf8(std::string_view text);

}  // namespace sluice::api
