// Keeps one engine process running: starts it, knows when it is ready, starts it again when it
// ends.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "apps/process/child_process.h"
#include "core/clock.h"
#include "core/log.h"
#include "net/event_loop.h"
#include "net/http_client.h"

namespace sluice::apps {

// A process as the supervisor sees it.
struct ProcessSpec {
  ChildProcess::Command command;
  // It is ready when it prints this and its URL, on a line of its own.
  std::string ready_prefix = "listening on ";
  int64_t stop_timeout_ns = 40'000'000'000;  // from SIGTERM to SIGKILL
  // Between an end and the next start: nothing for a process that was ready, then doubling.
  int64_t restart_delay_least_ns = 500'000'000;
  int64_t restart_delay_most_ns = 30'000'000'000;
};

class Supervisor {
 public:
  struct Events {
    std::function<void(const net::Endpoint&)> on_ready;
    // It ended and is started again; `ready_in_ns` as far as the last start tells.
    std::function<void(int64_t ready_in_ns)> on_lost;
    // No process runs and none will: after stop(), or when the first start came to nothing.
    std::function<void(int exit_code)> on_stopped;
  };

  Supervisor(net::EventLoop& loop, const core::Clock& clock, ProcessSpec spec, Events events);

  void start();
  // SIGTERM to the process, SIGKILL when it takes too long.
  void stop();

 private:
  void on_line(const std::string& line);
  void on_exit(int wait_status);
  void restart();

  net::EventLoop& loop_;
  const core::Clock& clock_;
  const core::Logger log_;
  const ProcessSpec spec_;
  const Events events_;
  net::Timer timer_;  // until the next start, or until SIGKILL
  std::unique_ptr<ChildProcess> child_;
  int64_t started_ns_ = 0;
  int64_t start_takes_ns_ = 1'000'000'000;  // the last time
  int64_t delay_ns_ = 0;                    // before the next start
  bool ready_ = false;
  bool ever_ready_ = false;
  bool stopping_ = false;
};

}  // namespace sluice::apps
