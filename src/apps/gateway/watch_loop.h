// The thread of a gateway that asks the replicas how they are.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <thread>

#include "gateway/watch/replica_watcher.h"

namespace sluice::apps {

class WatchLoop {
 public:
  WatchLoop(const core::Clock& clock, const core::Logger& log,
            std::map<std::string, std::string> secrets);
  ~WatchLoop();  // ends the thread
  WatchLoop(const WatchLoop&) = delete;
  WatchLoop& operator=(const WatchLoop&) = delete;

  void run();  // on a thread of its own
  // From any thread.
  void update(std::shared_ptr<const gateway::RoutingTable> table);
  void take_secrets(std::map<std::string, std::string> secrets);

 private:
  net::EventLoop loop_;
  std::unique_ptr<gateway::ReplicaWatcher> watcher_;
  std::thread thread_;
};

}  // namespace sluice::apps
