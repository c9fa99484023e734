// A connected socket whose readiness the loop reports, for the .cpp files of this folder only.
//
// Readiness does not go through asio: its reactor asks the kernel anew for each wait (an epoll_ctl
// for each message), while a socket here stays registered from one message to the next.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include <sys/epoll.h>

namespace sluice::net {

class WatchedSocket;

// Who uses a socket. Either may close or destroy it.
class SocketUser {
 public:
  virtual ~SocketUser() = default;
  virtual void on_socket_readable() = 0;  // bytes, the end, or an error to be read
  virtual void on_socket_writable() = 0;
};

// The sockets of one loop: an epoll of its own, itself watched by asio. It outlives the context:
// tasks that are destroyed with that may hold the last sockets.
class SocketPoller {
 public:
  SocketPoller();
  ~SocketPoller();
  SocketPoller(const SocketPoller&) = delete;
  SocketPoller& operator=(const SocketPoller&) = delete;

  int native_handle() const { return epoll_; }
  // A turn: calls the users of sockets that are ready, then those that hold output back.
  void dispatch();

 private:
  friend class WatchedSocket;
  static constexpr int kEventsMax = 256;     // then asio's own have their turn
  static constexpr size_t kHoldersMax = 32;  // then they send, so that peers need not wait
  void answer(const epoll_event& event);
  void let_holders_send();
  void forget(const WatchedSocket& socket);

  const int epoll_;
  std::array<epoll_event, kEventsMax> events_;
  int event_count_ = 0;
  bool in_turn_ = false;
  std::vector<WatchedSocket*> holders_;  // null: closed meanwhile
};

// Owns the descriptor, which is non-blocking.
class WatchedSocket {
 public:
  // descriptor −1: none yet, see open().
  WatchedSocket(SocketPoller& poller, SocketUser& user, int descriptor);
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

  SocketPoller& poller_;
  SocketUser& user_;
  int descriptor_;
  uint32_t wanted_ = 0;   // asked for and not answered
  uint32_t watched_ = 0;  // what the kernel reports; input also while nobody asks, until some comes
  bool holds_output_ = false;
};

}  // namespace sluice::net
