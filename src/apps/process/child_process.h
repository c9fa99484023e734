// A process of our own that is watched: what it prints and how it ends are events on the loop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <sys/types.h>

#include "core/result.h"
#include "net/event_loop.h"

namespace sluice::apps {

// It dies with the thread that started it (PR_SET_PDEATHSIG), also when that is killed. It is its
// own process group, so that Ctrl-C in a terminal reaches the supervisor only.
class ChildProcess {
 public:
  struct Events {
    std::function<void(std::string line)> on_line;  // of its standard output
    // Once, after the last line. The object may be destroyed inside.
    std::function<void(int wait_status)> on_exit;
  };

  struct Command {
    std::vector<std::string> argv;         // the first is the path of the program
    std::vector<std::string> environment;  // "NAME=value", beside ours or in place of it
  };

  // Its standard error is ours. Events come from the loop until the object goes.
  static core::Result<std::unique_ptr<ChildProcess>> start(net::EventLoop& loop,
                                                           const Command& command, Events events);
  ~ChildProcess();  // kills it if it still runs
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const;

 private:
  struct Shared {
    Events events;  // the loop's thread only
    bool alive = true;
  };
  ChildProcess(net::EventLoop& loop, pid_t pid, int output, Events events);
  void read_output(int output);

  net::EventLoop& loop_;
  const pid_t pid_;
  bool exited_ = false;             // the loop's thread only
  std::shared_ptr<Shared> shared_;  // events in flight outlive the object
  std::thread reader_;
};

// "ended with exit code 1", "was ended by signal 9 (Killed)"
std::string describe_wait_status(int wait_status);

}  // namespace sluice::apps
