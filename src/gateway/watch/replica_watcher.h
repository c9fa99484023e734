// Asks the replicas how they are and tells routing: health probes for all, and for Sluice engines
// with a key the stream of GET /internal/events (pages, load, state). One for all data loops, on a
// loop of its own choice.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "core/clock.h"
#include "core/log.h"
#include "gateway/routing/routing_table.h"
#include "net/event_loop.h"

namespace sluice::gateway {

class ReplicaWatcher {
 public:
  static constexpr int64_t kTickNs = 250'000'000;
  static constexpr int64_t kSweepNs = 1'000'000'000;
  static constexpr int64_t kReconnectNs = 1'000'000'000;  // after a stream of events has ended

  struct Parts {  // all outlive it
    net::EventLoop& loop;
    const core::Clock& clock;
    const core::Logger& log;
    std::map<std::string, std::string> secrets;  // by the names that replicas give
  };
  explicit ReplicaWatcher(Parts parts);
  ~ReplicaWatcher();
  ReplicaWatcher(const ReplicaWatcher&) = delete;
  ReplicaWatcher& operator=(const ReplicaWatcher&) = delete;

  // Watches the replicas of this table from now on. What is known of one that stays stays.
  void update(std::shared_ptr<const RoutingTable> table);
  // In place of the parts' secrets: who was shown another one is asked anew.
  void take_secrets(std::map<std::string, std::string> secrets);

 private:
  class Watch;
  void tick();

  Parts parts_;
  std::shared_ptr<const RoutingTable> table_;
  std::map<std::string, std::unique_ptr<Watch>, std::less<>> by_id_;
  int64_t swept_ns_ = 0;
  net::Timer timer_;
};

}  // namespace sluice::gateway
