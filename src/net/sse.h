// Server-sent events (HTML living standard §9.2), as far as LLM APIs use them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"

namespace sluice::net {

inline constexpr std::string_view kSsePing = ": ping\n\n";
inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";
inline constexpr std::string_view kSseContentType = "text/event-stream; charset=utf-8";

// Appends "data: …\n\n", a "data:" line for each line of `data`.
void append_sse_data(std::string_view data, std::string* out);
// The same after an "event: …" line. `event` is one line.
void append_sse_event(std::string_view event, std::string_view data, std::string* out);

struct SseEvent {
  std::string_view event;  // empty: a plain message
  std::string_view data;   // lines joined by '\n'
};

// Events out of a stream that arrives in pieces. Ids, retry times and comments are dropped.
class SseParser {
 public:
  static constexpr int64_t kEventBytesMax = 16 << 20;

  // Calls on_event(const SseEvent&) for each event that `bytes` completes; its views end with the
  // call. An Error once an event is over kEventBytesMax.
  template <typename OnEvent>
  core::Result<void> feed(std::string_view bytes, const OnEvent& on_event) {
    while (!bytes.empty()) {
      const size_t used = take_line(bytes);
      bytes.remove_prefix(used);
      if (static_cast<int64_t>(line_.size() + data_.size()) > kEventBytesMax)
        return core::Error{core::ErrorCode::kLimit,
                           fmt::format("an event is over {} bytes", kEventBytesMax)};
      if (!line_complete_) return {};
      if (end_line()) {
        on_event(SseEvent{.event = event_, .data = data_});
        event_.clear();
        data_.clear();
        has_data_ = false;
      }
    }
    return {};
  }

 private:
  // Moves the start of `bytes` into line_, up to and with its end; returns how many were used.
  size_t take_line(std::string_view bytes);
  // Reads line_; true when an event is complete.
  bool end_line();

  std::string line_;
  std::string event_;
  std::string data_;
  bool line_complete_ = false;
  bool has_data_ = false;
  bool after_carriage_return_ = false;  // a '\n' that comes now ends no line of its own
  bool at_start_ = true;                // a byte order mark may come
};

}  // namespace sluice::net
