// A thread for questions that wait for a database, so that the admin loop never does: a revocation
// does not queue behind a report.
#pragma once

#include <thread>

#include "core/queue.h"
#include "net/task.h"

namespace sluice::gateway {

class QueryWorker {
 public:
  static constexpr int64_t kQueueMax = 64;

  QueryWorker();
  ~QueryWorker();  // what runs is finished, what waits is dropped
  QueryWorker(const QueryWorker&) = delete;
  QueryWorker& operator=(const QueryWorker&) = delete;

  // False: too many wait already.
  [[nodiscard]] bool run(net::Task query);

 private:
  core::BoundedQueue<net::Task> queue_;
  std::thread thread_;
};

}  // namespace sluice::gateway
