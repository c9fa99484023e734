#include "net/event_loop.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <sys/eventfd.h>

#include "core/assert.h"
#include "core/clock.h"
#include "net/event_loop_impl.h"

namespace sluice::net {

EventLoop::Impl::Impl(int64_t spin) : spin_ns(spin) {
  const int descriptor = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  ASSERT(descriptor >= 0, "eventfd: error {}", errno);
  wake = std::make_unique<ReadWatch>(poller, descriptor, [this] { on_woken(); });
  wake->wait();
}

// The resolver posts until it has ended. A task may own what posts another when it goes.
void EventLoop::Impl::drop_tasks() {
  resolver.reset();
  for (;;) {
    std::deque<Task> dropped;
    {
      const std::lock_guard lock(mutex);
      dropped.swap(posted);
    }
    if (dropped.empty()) return;
  }
}

// A turn: what was posted, timers whose time has come, sockets.
void EventLoop::Impl::run() {
  for (;;) {
    run_posted();
    if (std::exchange(stopping, false)) return;
    expire_timers();
    wait_for_sockets();
  }
}

void EventLoop::Impl::wait_for_sockets() {
  if (spin_ns > 0) {
    const core::SystemClock clock;
    int64_t until_ns = clock.now_ns() + spin_ns;
    if (!timers.empty()) until_ns = std::min(until_ns, timers.begin()->first);
    do {
      if (has_posted || poller.dispatch(0)) return;
    } while (clock.now_ns() < until_ns);
  }
  poller.dispatch(sleep_ns());
}

void EventLoop::Impl::post(Task task) {
  {
    const std::lock_guard lock(mutex);
    posted.push_back(std::move(task));
  }
  has_posted = true;
  if (runner.load() == std::this_thread::get_id() || !asleep.exchange(false)) return;
  ::eventfd_write(wake->native_handle(), 1);
}

// Those that are there now: what they post has its turn after the sockets.
void EventLoop::Impl::run_posted() {
  asleep.store(false, std::memory_order_relaxed);
  if (!has_posted.load(std::memory_order_relaxed)) return;
  size_t count = 0;
  {
    const std::lock_guard lock(mutex);
    has_posted = false;
    count = posted.size();
  }
  for (; count > 0 && !stopping; --count) {
    Task task;
    {
      const std::lock_guard lock(mutex);
      task = std::move(posted.front());
      posted.pop_front();
    }
    task();
  }
  if (count > 0) has_posted = true;  // for the next run()
}

void EventLoop::Impl::expire_timers() {
  if (timers.empty()) return;
  const int64_t now_ns = core::SystemClock().now_ns();
  while (!timers.empty() && timers.begin()->first <= now_ns) {
    TimerEntry& timer = *timers.begin()->second;
    timers.erase(timers.begin());
    Task task = std::move(timer.on_expired);
    task();
  }
}

int64_t EventLoop::Impl::sleep_ns() {
  asleep = true;
  if (has_posted) return 0;
  if (timers.empty()) return -1;
  return std::max<int64_t>(0, timers.begin()->first - core::SystemClock().now_ns());
}

void EventLoop::Impl::on_woken() {
  eventfd_t times = 0;
  ::eventfd_read(wake->native_handle(), &times);
  wake->wait();
}

void EventLoop::Impl::on_signals() {
  while (const std::optional<int> number = next_signal(signal_watch->native_handle()))
    on_signal(*number);
  signal_watch->wait();
}

EventLoop::EventLoop(int64_t spin_ns) : impl_(std::make_unique<Impl>(spin_ns)) {}
EventLoop::~EventLoop() {
  ASSERT(owned_by_caller(), "the loop is destroyed while another thread runs it");
  impl_->drop_tasks();
}

void EventLoop::run() {
  ASSERT(owned_by_caller(), "two threads run one loop");
  impl_->runner = std::this_thread::get_id();
  impl_->run();
  impl_->runner = std::thread::id();
}

void EventLoop::stop() {
  impl_->post([this] { impl_->stopping = true; });
}

void EventLoop::post(Task task) {
  impl_->post(std::move(task));
}

void EventLoop::handle_signals(const std::vector<int>& signals,
                               UniqueFunction<void(int)> on_signal) {
  ASSERT(!impl_->on_signal, "signals of this loop are handled already");
  impl_->on_signal = std::move(on_signal);
  impl_->signals = std::make_unique<SignalPipe>(signals);
  impl_->signal_watch =
      std::make_unique<ReadWatch>(impl_->poller, impl_->signals->release_read_end(),
                                  [impl = impl_.get()] { impl->on_signals(); });
  impl_->signal_watch->wait();
}

int64_t EventLoop::now_ns() const {
  return core::SystemClock().now_ns();
}

bool EventLoop::owned_by_caller() const {
  const std::thread::id runner = impl_->runner;
  return runner == std::thread::id() || runner == std::this_thread::get_id();
}

struct Timer::Impl : TimerEntry {
  explicit Impl(EventLoop& owner) : loop(owner) {}
  EventLoop& loop;
};

Timer::Timer(EventLoop& loop) : impl_(std::make_shared<Impl>(loop)) {}
Timer::~Timer() {
  cancel();
}

void Timer::start(int64_t delay_ns, Task on_expired) {
  cancel();
  impl_->on_expired = std::move(on_expired);
  impl_->place = impl_->loop.impl().timers.emplace(impl_->loop.now_ns() + delay_ns, impl_.get());
}

void Timer::cancel() {
  ASSERT(impl_->loop.owned_by_caller(), "timer changed from a foreign thread");
  if (!running()) return;
  impl_->loop.impl().timers.erase(impl_->place);
  impl_->on_expired = {};
}

bool Timer::running() const {
  return static_cast<bool>(impl_->on_expired);
}

}  // namespace sluice::net
