#include "net/watched_socket.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include <sys/socket.h>

#include "core/assert.h"

namespace sluice::net {

SocketPoller::SocketPoller() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  ASSERT(epoll_ >= 0, "epoll_create1: error {}", errno);
}

SocketPoller::~SocketPoller() {
  ::close(epoll_);
}

void SocketPoller::dispatch(int64_t sleep_ns) {
  // Rounded up: a timer's time shall have come.
  const int64_t sleep_ms =
      sleep_ns < 0 ? -1 : std::min<int64_t>(INT_MAX, (sleep_ns + 999'999) / 1'000'000);
  const int ready = ::epoll_wait(epoll_, events_.data(), kEventsMax, static_cast<int>(sleep_ms));
  event_count_ = std::max(ready, 0);  // a signal interrupts
  in_turn_ = true;
  for (int i = 0; i < ready; ++i) {
    answer(events_[static_cast<size_t>(i)]);
    if (holders_.size() >= kHoldersMax) let_holders_send();
  }
  event_count_ = 0;
  let_holders_send();
  in_turn_ = false;
}

void SocketPoller::answer(const epoll_event& event) {
  // forget() takes out a socket that a user closes, here or for an event before.
  const auto socket = [&event] { return static_cast<WatchedSocket*>(event.data.ptr); };
  if (socket() == nullptr) return;
  constexpr uint32_t kEnd = EPOLLHUP | EPOLLERR;
  const uint32_t found = (event.events & kEnd) != 0 ? EPOLLIN | EPOLLOUT : event.events;
  const uint32_t answered = found & socket()->wanted_;
  socket()->wanted_ &= ~answered;
  if (answered == 0) return socket()->watch(socket()->wanted_);
  if ((answered & EPOLLIN) != 0) socket()->user_.on_socket_readable();
  if ((answered & EPOLLOUT) != 0 && socket() != nullptr) socket()->user_.on_socket_writable();
  if (socket() == nullptr) return;
  // Room for output is nearly always there: it is reported only while somebody asks.
  if ((socket()->watched_ & ~socket()->wanted_ & EPOLLOUT) != 0)
    socket()->watch(socket()->watched_ & ~static_cast<uint32_t>(EPOLLOUT));
}

// Their users may hold output back again, or close others of them.
void SocketPoller::let_holders_send() {
  for (size_t i = 0; i < holders_.size(); ++i) {
    if (holders_[i] == nullptr) continue;
    holders_[i]->holds_output_ = false;
    std::exchange(holders_[i], nullptr)->user_.on_socket_writable();
  }
  holders_.clear();
}

void SocketPoller::forget(const WatchedSocket& socket) {
  for (int i = 0; i < event_count_; ++i) {
    epoll_event& event = events_[static_cast<size_t>(i)];
    if (event.data.ptr == &socket) event.data.ptr = nullptr;
  }
  if (!socket.holds_output_) return;
  for (WatchedSocket*& holder : holders_)
    if (holder == &socket) holder = nullptr;
}

WatchedSocket::WatchedSocket(SocketPoller& poller, SocketUser& user, int descriptor)
    : poller_(poller), user_(user), descriptor_(descriptor) {}

void WatchedSocket::open(int descriptor) {
  ASSERT(descriptor_ < 0, "opened twice: {} and {}", descriptor_, descriptor);
  descriptor_ = descriptor;
}

void WatchedSocket::close() {
  if (descriptor_ < 0) return;
  watch(0);
  poller_.forget(*this);
  wanted_ = 0;
  holds_output_ = false;
  ::close(std::exchange(descriptor_, -1));
}

void WatchedSocket::shutdown_send() {
  ::shutdown(descriptor_, SHUT_WR);
}

bool WatchedSocket::hold_output() {
  if (!poller_.in_turn_) return false;
  if (!std::exchange(holds_output_, true)) poller_.holders_.push_back(this);
  return true;
}

void WatchedSocket::wait_for(uint32_t event) {
  wanted_ |= event;
  if ((watched_ & event) == 0) watch(watched_ | event);
}

void WatchedSocket::watch(uint32_t events) {
  if (events == watched_) return;
  const int operation = watched_ == 0 ? EPOLL_CTL_ADD : events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
  epoll_event event = {.events = events, .data = {.ptr = this}};
  const int result = ::epoll_ctl(poller_.epoll_, operation, descriptor_, &event);
  ASSERT(result == 0, "epoll_ctl {} of descriptor {}: error {}", operation, descriptor_, errno);
  watched_ = events;
}

}  // namespace sluice::net
