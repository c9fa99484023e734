#include "apps/gateway/watch_loop.h"

#include <utility>

namespace sluice::apps {

WatchLoop::WatchLoop(const core::Clock& clock, const core::Logger& log,
                     std::map<std::string, std::string> secrets)
    : watcher_(std::make_unique<gateway::ReplicaWatcher>(gateway::ReplicaWatcher::Parts{
          .loop = loop_, .clock = clock, .log = log, .secrets = std::move(secrets)})) {}

WatchLoop::~WatchLoop() {
  loop_.stop();
  if (thread_.joinable()) thread_.join();
}

void WatchLoop::run() {
  thread_ = std::thread([this] { loop_.run(); });
}

void WatchLoop::update(std::shared_ptr<const gateway::RoutingTable> table) {
  loop_.post([this, table = std::move(table)]() mutable { watcher_->update(std::move(table)); });
}

void WatchLoop::take_secrets(std::map<std::string, std::string> secrets) {
  loop_.post([this, secrets = std::move(secrets)]() mutable {
    watcher_->take_secrets(std::move(secrets));
  });
}

}  // namespace sluice::apps
