#include "apps/process/supervisor.h"

#include <algorithm>
#include <csignal>

#include <sys/wait.h>

namespace sluice::apps {

Supervisor::Supervisor(net::EventLoop& loop, const core::Clock& clock, ProcessSpec spec,
                       Events events)
    : loop_(loop),
      clock_(clock),
      spec_(std::move(spec)),
      events_(std::move(events)),
      timer_(loop) {}

void Supervisor::start() {
  started_ns_ = clock_.now_ns();
  ready_ = false;
  auto child = ChildProcess::start(loop_, spec_.command,
                                   {.on_line = [this](const std::string& line) { on_line(line); },
                                    .on_exit = [this](int wait_status) { on_exit(wait_status); }});
  if (child.ok()) {
    child_ = std::move(child).value();
    return;
  }
  log_.error("cannot start the engine: {}", child.error().message);
  if (!ever_ready_) return events_.on_stopped(1);
  restart();
}

void Supervisor::on_line(const std::string& line) {
  if (!line.starts_with(spec_.ready_prefix)) return;
  const auto url = net::parse_url(line.substr(spec_.ready_prefix.size()));
  if (!url.ok()) {
    log_.error("the engine said '{}': {}", line, url.error().message);
    return;
  }
  ready_ = true;
  ever_ready_ = true;
  delay_ns_ = 0;
  start_takes_ns_ = clock_.now_ns() - started_ns_;
  log_.info("engine {} is ready after {} ms (internal: port {})", child_->pid(),
            start_takes_ns_ / 1'000'000, url->endpoint.port);
  if (!stopping_) events_.on_ready(url.value().endpoint);
}

void Supervisor::on_exit(int wait_status) {
  const pid_t pid = child_->pid();
  child_ = nullptr;
  // One that is still loading has nothing to drain: SIGTERM just ends it.
  const bool unready = !ready_ && WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGTERM;
  const bool clean = unready || (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0);
  if (!stopping_ || !clean) log_.error("engine {} {}", pid, describe_wait_status(wait_status));
  if (stopping_) {
    timer_.cancel();
    return events_.on_stopped(clean ? 0 : 1);
  }
  if (!ever_ready_) return events_.on_stopped(1);
  restart();
}

void Supervisor::restart() {
  if (!ready_)
    delay_ns_ =
        std::clamp(delay_ns_ * 2, spec_.restart_delay_least_ns, spec_.restart_delay_most_ns);
  events_.on_lost(delay_ns_ + start_takes_ns_);
  if (delay_ns_ == 0) return start();
  timer_.start(delay_ns_, [this] { start(); });
}

void Supervisor::stop() {
  if (std::exchange(stopping_, true)) return;
  if (child_ == nullptr) {
    timer_.cancel();
    return events_.on_stopped(0);
  }
  child_->signal(SIGTERM);
  timer_.start(spec_.stop_timeout_ns, [this] {
    if (child_ != nullptr) child_->signal(SIGKILL);
  });
}

}  // namespace sluice::apps
