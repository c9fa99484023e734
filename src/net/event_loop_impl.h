// What an EventLoop is made of, for the .cpp files of this folder only.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "net/event_loop.h"
#include "net/resolver.h"
#include "net/signals.h"
#include "net/watched_socket.h"

namespace sluice::net {

// A timer in the loop's order of times.
struct TimerEntry {
  using Queue = std::multimap<int64_t, TimerEntry*>;
  Task on_expired;
  Queue::iterator place;  // while there is something to call
};

struct EventLoop::Impl {
  explicit Impl(int64_t spin);

  void run();
  void post(Task task);
  void run_posted();
  void expire_timers();
  void wait_for_sockets();
  int64_t sleep_ns();  // 0: there is something to do; −1: nothing to wait for but sockets
  void on_woken();
  void on_signals();
  void drop_tasks();

  const int64_t spin_ns;
  SocketPoller poller;  // before the tasks: these may hold the last sockets
  TimerEntry::Queue timers;
  std::unique_ptr<Resolver> resolver = std::make_unique<Resolver>();
  UniqueFunction<void(int)> on_signal;
  std::unique_ptr<ReadWatch> signal_watch;  // goes after the pipe that writes to it
  std::unique_ptr<SignalPipe> signals;
  std::unique_ptr<ReadWatch> wake;        // an eventfd
  std::atomic<std::thread::id> runner{};  // nobody: a default id
  bool stopping = false;

  std::mutex mutex;  // of `posted`
  std::deque<Task> posted;
  // So that a turn without tasks takes no lock. Who posts sets the first and then looks at the
  // second, the loop sets the second and then looks at the first: one of them sees the other's.
  std::atomic<bool> has_posted = false;
  std::atomic<bool> asleep = false;  // what is posted has to wake it up
};

}  // namespace sluice::net
