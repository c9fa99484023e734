#include "apps/gateway/access_log_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace sluice::apps {

core::Result<int> open_access_log(const std::string& path) {
  if (path == "-") return STDOUT_FILENO;
  const int descriptor =
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, S_IRUSR | S_IWUSR);
  if (descriptor < 0)
    return core::invalid("cannot open the access log {}: {}", path, std::strerror(errno));
  return descriptor;
}

void AccessLogFile::add(const contract::UsageEvent& event, const gateway::AccessExtras& extras) {
  gateway::append_access_line(event, extras, &lines_);
  if (lines_.size() >= kBytesTogether)
    flush();
  else if (!timer_.running())
    timer_.start(kIntervalNs, [this] { flush(); });
}

// A log that cannot be written is no reason to stop serving: its lines are lost.
void AccessLogFile::flush() {
  std::string_view left = lines_;
  while (!left.empty()) {
    const ssize_t written = ::write(descriptor_, left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    left.remove_prefix(static_cast<size_t>(written));
  }
  lines_.clear();
}

}  // namespace sluice::apps
