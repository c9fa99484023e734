// One thread that runs what would hold up the event loop: rendering and tokenizing of large bodies.
#pragma once

#include <cstdint>
#include <thread>

#include "core/queue.h"
#include "net/task.h"

namespace sluice::server {

class Worker {
 public:
  explicit Worker(int64_t queue_max);
  ~Worker();  // runs what is queued, then ends
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // In the order of pushing. kFull: the task is not run.
  core::PushResult push(net::Task task) { return queue_.push(std::move(task)); }

 private:
  void run();

  core::BoundedQueue<net::Task> queue_;
  std::thread thread_;
};

}  // namespace sluice::server
