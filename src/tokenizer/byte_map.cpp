#include "tokenizer/byte_map.h"

#include <array>

#include "tokenizer/unicode.h"

namespace sluice::tokenizer {
namespace {

constexpr bool stands_for_itself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

struct ByteMap {
  std::array<uint16_t, 256> to_code_point{};
  std::array<int16_t, 256 + 68> to_byte{};
};

constexpr ByteMap make_byte_map() {
  ByteMap map;
  map.to_byte.fill(-1);
  uint16_t next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const auto index = static_cast<size_t>(byte);
    map.to_code_point[index] = stands_for_itself(byte) ? static_cast<uint16_t>(byte) : next++;
    map.to_byte[map.to_code_point[index]] = static_cast<int16_t>(byte);
  }
  return map;
}
constexpr ByteMap kByteMap = make_byte_map();

}  // namespace

uint32_t byte_to_code_point(uint8_t byte) {
  return kByteMap.to_code_point[byte];
}

void append_mapped_bytes(std::string_view text, std::string& out) {
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at < end;) {
    const Char c = read_char(at, end);
    const bool mapped =
        c.code_point < kByteMap.to_byte.size() && kByteMap.to_byte[c.code_point] >= 0;
    if (mapped) {
      out.push_back(static_cast<char>(kByteMap.to_byte[c.code_point]));
    } else {
      out.append(at, static_cast<size_t>(c.size_bytes));
    }
    at += c.size_bytes;
  }
}

}  // namespace sluice::tokenizer
