#include "net/event_loop.h"

#include <fcntl.h>

#include <cerrno>
#include <chrono>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "core/assert.h"
#include "core/clock.h"
#include "net/event_loop_impl.h"

namespace sluice::net {

EventLoop::Impl::Impl() {
  const int copy = ::fcntl(poller.native_handle(), F_DUPFD_CLOEXEC, 0);
  ASSERT(copy >= 0, "dup of an epoll: error {}", errno);
  sockets_ready.assign(copy);
  wait_for_sockets();
}

void EventLoop::Impl::wait_for_sockets() {
  sockets_ready.async_wait(asio::posix::stream_descriptor::wait_read,
                           [this](const boost::system::error_code& error) {
                             if (error) return;
                             poller.dispatch();
                             wait_for_sockets();
                           });
}

EventLoop::EventLoop() : impl_(std::make_unique<Impl>()) {}
EventLoop::~EventLoop() {
  ASSERT(owned_by_caller(), "the loop is destroyed while another thread runs it");
}

void EventLoop::run() {
  ASSERT(owned_by_caller(), "two threads run one loop");
  impl_->runner = std::this_thread::get_id();
  {
    const auto keep_running = asio::make_work_guard(impl_->context);
    impl_->context.run();
  }
  impl_->runner = std::thread::id();
  impl_->context.restart();
}

void EventLoop::stop() {
  asio::post(impl_->context, [this] { impl_->context.stop(); });
}

void EventLoop::post(Task task) {
  asio::post(impl_->context, [task = std::move(task)]() mutable { task(); });
}

void EventLoop::Impl::wait_for_signal() {
  signals.async_wait([this](const boost::system::error_code& error, int number) {
    if (error) return;
    on_signal(number);
    wait_for_signal();
  });
}

void EventLoop::handle_signals(const std::vector<int>& signals,
                               UniqueFunction<void(int)> on_signal) {
  ASSERT(!impl_->on_signal, "signals of this loop are handled already");
  for (int number : signals) impl_->signals.add(number);
  impl_->on_signal = std::move(on_signal);
  impl_->wait_for_signal();
}

int64_t EventLoop::now_ns() const {
  return core::SystemClock().now_ns();
}

bool EventLoop::owned_by_caller() const {
  const std::thread::id runner = impl_->runner;
  return runner == std::thread::id() || runner == std::this_thread::get_id();
}

struct Timer::Impl {
  explicit Impl(EventLoop& owner) : loop(owner), timer(owner.impl().context) {}
  EventLoop& loop;
  asio::steady_timer timer;
  Task on_expired;
  uint64_t starts = 0;  // an expiry of an earlier start is ignored
};

Timer::Timer(EventLoop& loop) : impl_(std::make_shared<Impl>(loop)) {}
Timer::~Timer() {
  cancel();
}

void Timer::start(int64_t delay_ns, Task on_expired) {
  ASSERT(impl_->loop.owned_by_caller(), "timer started from a foreign thread");
  impl_->on_expired = std::move(on_expired);
  impl_->timer.expires_after(std::chrono::nanoseconds(delay_ns));
  impl_->timer.async_wait(
      [weak = std::weak_ptr(impl_), start = ++impl_->starts](const boost::system::error_code&) {
        const std::shared_ptr<Impl> impl = weak.lock();
        if (!impl || impl->starts != start || !impl->on_expired) return;
        Task task = std::move(impl->on_expired);
        task();
      });
}

void Timer::cancel() {
  ASSERT(impl_->loop.owned_by_caller(), "timer cancelled from a foreign thread");
  ++impl_->starts;
  impl_->on_expired = {};
  impl_->timer.cancel();
}

bool Timer::running() const {
  return static_cast<bool>(impl_->on_expired);
}

}  // namespace sluice::net
