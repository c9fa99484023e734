// Heads of messages as bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "net/http.h"

namespace sluice::net {

// Appends "name: value\r\n". A control character in the value becomes a space: foreign text cannot
// begin a line of its own.
void append_header(std::string_view name, std::string_view value, std::string* out);

enum class BodyFraming { kNone, kLength, kChunked, kUntilClose };

struct ResponseStart {
  int status = 200;
  std::string_view date;
  BodyFraming framing = BodyFraming::kLength;
  size_t body_bytes = 0;             // kLength
  std::string_view connection = {};  // "close", "keep-alive" or nothing
};

// Appends the status line and the headers that the server itself is responsible for; the caller
// adds more headers and the empty line.
void append_response_start(const ResponseStart& start, std::string* out);

// A header that append_response_start() or the client's request line writes.
bool is_framing_header(std::string_view name);

// "Sun, 06 Nov 1994 08:49:37 GMT"
std::string http_date(int64_t unix_s);

// The size line of a chunk, in `storage`.
struct ChunkSizeLine {
  char storage[20];
};
std::string_view chunk_size_line(size_t bytes, ChunkSizeLine* line);

}  // namespace sluice::net
