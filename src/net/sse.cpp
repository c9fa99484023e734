#include "net/sse.h"

namespace sluice::net {

void append_sse_data(std::string_view data, std::string* out) {
  for (;;) {
    const size_t end = data.find('\n');
    out->append("data: ").append(data.substr(0, end)).append("\n");
    if (end == std::string_view::npos) break;
    data.remove_prefix(end + 1);
  }
  out->append("\n");
}

void append_sse_event(std::string_view event, std::string_view data, std::string* out) {
  ASSERT(event.find_first_of("\r\n") == std::string_view::npos, "event '{}' is not one line",
         event);
  out->append("event: ").append(event).append("\n");
  append_sse_data(data, out);
}

size_t SseParser::take_line(std::string_view bytes) {
  line_complete_ = false;
  size_t begin = 0;
  if (after_carriage_return_ && bytes.front() == '\n') begin = 1;
  after_carriage_return_ = false;
  const size_t end = bytes.find_first_of("\r\n", begin);
  line_.append(bytes.substr(begin, end - begin));
  if (end == std::string_view::npos) return bytes.size();
  after_carriage_return_ = bytes[end] == '\r';
  line_complete_ = true;
  return end + 1;
}

bool SseParser::end_line() {
  std::string_view line = line_;
  if (at_start_ && line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
  at_start_ = false;
  bool complete = false;
  if (line.empty()) {
    complete = has_data_;
    if (!complete) event_.clear();
  } else if (const size_t colon = line.find(':'); colon != 0) {
    const std::string_view field = line.substr(0, colon);
    std::string_view value;
    if (colon != std::string_view::npos) value = line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (field == "event") event_ = value;
    if (field == "data") {
      if (has_data_) data_ += '\n';
      data_ += value;
      has_data_ = true;
    }
  }
  line_.clear();
  return complete;
}

}  // namespace sluice::net
