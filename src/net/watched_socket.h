// A socket whose readiness the loop reports, for the .cpp files of this folder only. It stays
// registered with the kernel from one message to the next: no epoll_ctl for each.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include <sys/epoll.h>

#include "net/task.h"

namespace sluice::net {

class WatchedSocket;

// Who uses a socket. Either may close or destroy it.
class SocketUser {
 public:
  virtual ~SocketUser() = default;
  virtual void on_socket_readable() = 0;  // bytes, the end, or an error to be read
  virtual void on_socket_writable() = 0;
};

// Whose turn comes first while many wait: an answer ends work that was begun, a client begins more.
enum class Urgency : uint8_t { kAnswer, kUsual };

// The sockets of one loop: its epoll. Those of answers are in a second one too, which is asked
// first while more is ready than a turn takes: what was begun for some is finished while its memory
// is still in the processor's cache, however many others wait.
class SocketPoller {
 public:
  SocketPoller();
  ~SocketPoller();
  SocketPoller(const SocketPoller&) = delete;
  SocketPoller& operator=(const SocketPoller&) = delete;

  // Waits until a socket is ready, at most `sleep_ns` (−1: for ever). Then a turn: calls the users
  // of those that are, then those that hold output back. False: none was ready.
  bool dispatch(int64_t sleep_ns);

 private:
  friend class WatchedSocket;
  static constexpr int kEventsMax = 64;      // then timers and tasks have their turn
  static constexpr size_t kHoldersMax = 32;  // then they send, so that peers need not wait
  struct Events {
    std::array<epoll_event, kEventsMax> list;
    int count = 0;
  };
  void fetch(int epoll, int sleep_ms, Events* events);
  void answer(Events* events);
  void answer(const epoll_event& event);
  void let_holders_send();
  void forget(const WatchedSocket& socket);

  const int epoll_;
  const int answers_epoll_;
  Events events_;
  Events answers_;
  bool crowded_ = false;  // the last turn left some that were ready
  bool in_turn_ = false;
  std::vector<WatchedSocket*> holders_;  // null: closed meanwhile
};

// Owns the descriptor, which is non-blocking.
class WatchedSocket {
 public:
  // descriptor −1: none yet, see open().
  WatchedSocket(SocketPoller& poller, SocketUser& user, int descriptor, Urgency urgency);
  ~WatchedSocket() { close(); }
  WatchedSocket(const WatchedSocket&) = delete;
  WatchedSocket& operator=(const WatchedSocket&) = delete;

  void open(int descriptor);
  void close();
  void shutdown_send();
  int native_handle() const { return descriptor_; }

  // Each is answered by one call of the user, from the loop, as soon as it holds.
  void wait_readable() { wait_for(EPOLLIN); }
  void wait_writable() { wait_for(EPOLLOUT); }
  // on_socket_writable() comes at the end of the turn: what is sent to many peers at once wakes
  // each of them up only once. False outside of a turn: there is nothing to wait for.
  bool hold_output();
  bool holds_output() const { return holds_output_; }
  bool waits_readable() const { return (wanted_ & EPOLLIN) != 0; }

 private:
  friend class SocketPoller;
  void wait_for(uint32_t event);
  void watch(uint32_t events);  // tells the kernel; 0: nothing, not even a hang-up
  void control(int epoll, uint32_t before, uint32_t now);

  SocketPoller& poller_;
  SocketUser& user_;
  int descriptor_;
  const Urgency urgency_;
  uint32_t wanted_ = 0;   // asked for and not answered
  uint32_t watched_ = 0;  // what the kernel reports; input also while nobody asks, until some comes
  bool holds_output_ = false;
};

// Calls back when a descriptor that it owns has something to read: once for each wait().
class ReadWatch final : private SocketUser {
 public:
  ReadWatch(SocketPoller& poller, int descriptor, Task on_readable)
      : socket_(poller, *this, descriptor, Urgency::kUsual), on_readable_(std::move(on_readable)) {}

  int native_handle() const { return socket_.native_handle(); }
  void wait() { socket_.wait_readable(); }

 private:
  void on_socket_readable() override { on_readable_(); }
  void on_socket_writable() override {}

  WatchedSocket socket_;
  Task on_readable_;
};

}  // namespace sluice::net
