// One thread that waits for sockets, timers, signals and messages of other threads.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "net/task.h"

namespace sluice::net {

// Everything of this folder that belongs to a loop is used on the loop's thread only; the
// exceptions, post() and stop(), are marked. A loop outlives what was made on it.
class EventLoop {
 public:
  // A turn that finds nothing to do looks again for `spin_ns` before its thread sleeps: the host of
  // a virtual machine takes tens of microseconds to wake a core, longer than many answers take.
  explicit EventLoop(int64_t spin_ns = 0);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Serves the calling thread until stop(). May be called again after it returned.
  void run();
  // From any thread: run() returns once the callback in progress, if any, has. A stop() before
  // run() is not lost.
  void stop();
  // From any thread: `task` runs on the loop's thread, in the order of posting, never inside
  // post().
  void post(Task task);

  // Calls `on_signal(number)` on the loop's thread for each of these signals, as long as the loop
  // lives. Once per loop.
  void handle_signals(const std::vector<int>& signals, UniqueFunction<void(int)> on_signal);

  // Monotonic time that timers run on.
  int64_t now_ns() const;

  // The calling thread may touch what belongs to the loop: it runs the loop, or nobody does.
  bool owned_by_caller() const;

  struct Impl;  // see event_loop_impl.h
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

// Calls back once, `delay_ns` after start(). A cancelled or destroyed timer never calls back, also
// when its time had already passed.
class Timer {
 public:
  explicit Timer(EventLoop& loop);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // A timer that was running is cancelled first.
  void start(int64_t delay_ns, Task on_expired);
  void cancel();
  bool running() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::net
