// GPT-2's way of writing bytes as printable characters, in which byte-level vocabularies are
// stored: printable Latin-1 stands for itself, the other 68 bytes are U+0100 and up, in order.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::tokenizer {

uint32_t byte_to_code_point(uint8_t byte);

// The bytes that `text` stands for; characters outside the map stand for their UTF-8.
void append_mapped_bytes(std::string_view text, std::string& out);

}  // namespace sluice::tokenizer
