#include "gateway/admin/query_worker.h"

#include <vector>

namespace sluice::gateway {

QueryWorker::QueryWorker() : queue_(kQueueMax) {
  thread_ = std::thread([this] {
    std::vector<net::Task> queries;
    while (queue_.wait_and_drain(&queries)) {
      for (net::Task& query : queries) query();
      queries.clear();
    }
  });
}

QueryWorker::~QueryWorker() {
  std::vector<net::Task> dropped;
  queue_.drain(&dropped);
  queue_.close();
  thread_.join();
}

bool QueryWorker::run(net::Task query) {
  return queue_.push(std::move(query)) == core::PushResult::kOk;
}

}  // namespace sluice::gateway
