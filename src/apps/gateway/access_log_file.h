// The access log's file: lines of one data loop, written together.
#pragma once

#include <string>

#include "core/result.h"
#include "gateway/metrics/access_log.h"
#include "net/event_loop.h"

namespace sluice::apps {

// "-": standard output. Appends; the descriptor stays open with the process.
core::Result<int> open_access_log(const std::string& path);

class AccessLogFile {
 public:
  static constexpr size_t kBytesTogether = 64 << 10;
  static constexpr int64_t kIntervalNs = 200'000'000;

  // On the loop's thread, all of it.
  AccessLogFile(net::EventLoop& loop, int descriptor) : descriptor_(descriptor), timer_(loop) {}
  ~AccessLogFile() { flush(); }

  void add(const contract::UsageEvent& event, const gateway::AccessExtras& extras);

 private:
  void flush();

  const int descriptor_;
  std::string lines_;
  net::Timer timer_;
};

}  // namespace sluice::apps
