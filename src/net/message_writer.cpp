#include "net/message_writer.h"

#include <charconv>
#include <ctime>

#include <fmt/core.h>

#include "net/http_syntax.h"

namespace sluice::net {
namespace {

void append_number(size_t number, std::string* out) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof(digits), number);
  out->append(digits, end.ptr);
}

constexpr std::string_view kFramingHeaders[] = {
    "connection", "content-length", "transfer-encoding", "date", "keep-alive",
};

}  // namespace

void append_header(std::string_view name, std::string_view value, std::string* out) {
  out->append(name).append(": ");
  const size_t begin = out->size();
  out->append(value);
  if (!all_are(value, kValueCharacter)) {
    for (size_t i = begin; i < out->size(); ++i)
      if (!all_are({&(*out)[i], 1}, kValueCharacter)) (*out)[i] = ' ';
  }
  out->append("\r\n");
}

void append_response_start(const ResponseStart& start, std::string* out) {
  out->append("HTTP/1.1 ");
  append_number(static_cast<size_t>(start.status), out);
  out->append(" ").append(status_text(start.status)).append("\r\nDate: ").append(start.date);
  if (start.framing == BodyFraming::kLength) {
    out->append("\r\nContent-Length: ");
    append_number(start.body_bytes, out);
  } else if (start.framing == BodyFraming::kChunked) {
    out->append("\r\nTransfer-Encoding: chunked");
  }
  if (!start.connection.empty()) out->append("\r\nConnection: ").append(start.connection);
  out->append("\r\n");
}

bool is_framing_header(std::string_view name) {
  for (std::string_view known : kFramingHeaders)
    if (known.size() == name.size() && equal_ignoring_case(name, known)) return true;
  return false;
}

std::string http_date(int64_t unix_s) {
  static constexpr std::string_view kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::string_view kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                 "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const time_t time = unix_s;
  tm utc = {};
  gmtime_r(&time, &utc);
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[utc.tm_wday], utc.tm_mday,
                     kMonths[utc.tm_mon], utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

std::string_view chunk_size_line(size_t bytes, ChunkSizeLine* line) {
  char* const begin = line->storage;
  char* end = std::to_chars(begin, begin + 16, bytes, 16).ptr;
  *end++ = '\r';
  *end++ = '\n';
  return {begin, static_cast<size_t>(end - begin)};
}

}  // namespace sluice::net
