#include "net/watched_socket.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include <sys/socket.h>

#include "core/assert.h"

namespace sluice::net {

namespace {

int new_epoll() {
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  ASSERT(epoll >= 0, "epoll_create1: error {}", errno);
  return epoll;
}

}  // namespace

SocketPoller::SocketPoller() : epoll_(new_epoll()), answers_epoll_(new_epoll()) {}

SocketPoller::~SocketPoller() {
  ::close(answers_epoll_);
  ::close(epoll_);
}

bool SocketPoller::dispatch(int64_t sleep_ns) {
  // Rounded up: a timer's time shall have come.
  const int64_t sleep_ms =
      sleep_ns < 0 ? -1 : std::min<int64_t>(INT_MAX, (sleep_ns + 999'999) / 1'000'000);
  in_turn_ = true;
  if (crowded_) {
    fetch(answers_epoll_, 0, &answers_);
    answer(&answers_);
  }
  fetch(epoll_, crowded_ ? 0 : static_cast<int>(sleep_ms), &events_);
  const int ready = events_.count;
  crowded_ = ready == kEventsMax;
  answer(&events_);
  let_holders_send();
  in_turn_ = false;
  return ready > 0;
}

void SocketPoller::fetch(int epoll, int sleep_ms, Events* events) {
  const int ready = ::epoll_wait(epoll, events->list.data(), kEventsMax, sleep_ms);
  events->count = std::max(ready, 0);  // a signal interrupts
}

void SocketPoller::answer(Events* events) {
  for (int i = 0; i < events->count; ++i) {
    answer(events->list[static_cast<size_t>(i)]);
    if (holders_.size() >= kHoldersMax) let_holders_send();
  }
  events->count = 0;
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
  for (Events* events : {&events_, &answers_})
    for (int i = 0; i < events->count; ++i) {
      epoll_event& event = events->list[static_cast<size_t>(i)];
      if (event.data.ptr == &socket) event.data.ptr = nullptr;
    }
  if (!socket.holds_output_) return;
  for (WatchedSocket*& holder : holders_)
    if (holder == &socket) holder = nullptr;
}

WatchedSocket::WatchedSocket(SocketPoller& poller, SocketUser& user, int descriptor,
                             Urgency urgency)
    : poller_(poller), user_(user), descriptor_(descriptor), urgency_(urgency) {}

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
  control(poller_.epoll_, watched_, events);
  if (urgency_ == Urgency::kAnswer)
    control(poller_.answers_epoll_, watched_ & EPOLLIN, events & EPOLLIN);
  watched_ = events;
}

void WatchedSocket::control(int epoll, uint32_t before, uint32_t now) {
  if (now == before) return;
  const int operation = before == 0 ? EPOLL_CTL_ADD : now == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
  epoll_event event = {.events = now, .data = {.ptr = this}};
  const int result = ::epoll_ctl(epoll, operation, descriptor_, &event);
  ASSERT(result == 0, "epoll_ctl {} of descriptor {}: error {}", operation, descriptor_, errno);
}

}  // namespace sluice::net
