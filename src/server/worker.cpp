#include "server/worker.h"

#include <vector>

namespace sluice::server {

Worker::Worker(int64_t queue_max) : queue_(queue_max), thread_([this] { run(); }) {}

Worker::~Worker() {
  queue_.close();
  thread_.join();
}

void Worker::run() {
  std::vector<net::Task> tasks;
  while (queue_.wait_and_drain(&tasks)) {
    for (net::Task& task : tasks) task();
    tasks.clear();
  }
}

}  // namespace sluice::server
