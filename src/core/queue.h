// A bounded queue between threads; close() wakes everyone.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include "core/assert.h"

namespace sluice::core {

enum class PushResult { kOk, kFull, kClosed };

template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(int64_t limit) : limit_(limit) { ASSERT(limit > 0, "limit {}", limit); }

  PushResult push(T value) {
    std::lock_guard lock(mutex_);
    if (closed_) return PushResult::kClosed;
    if (static_cast<int64_t>(items_.size()) >= limit_) return PushResult::kFull;
    items_.push_back(std::move(value));
    ready_.notify_one();
    return PushResult::kOk;
  }

  // Moves everything waiting into `out` (appended) without blocking; false once closed and empty.
  bool drain(std::vector<T>* out) {
    std::lock_guard lock(mutex_);
    return take_all(out);
  }

  // The same, but blocks until there is something or the queue is closed.
  bool wait_and_drain(std::vector<T>* out) {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [&] { return closed_ || !items_.empty(); });
    return take_all(out);
  }

  // Later pushes are refused; what is queued can still be taken.
  void close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    ready_.notify_all();
  }

  int64_t size() const {
    std::lock_guard lock(mutex_);
    return static_cast<int64_t>(items_.size());
  }

 private:
  bool take_all(std::vector<T>* out) {
    const bool open = !closed_ || !items_.empty();
    for (T& item : items_) out->push_back(std::move(item));
    items_.clear();
    return open;
  }

  const int64_t limit_;
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace sluice::core
