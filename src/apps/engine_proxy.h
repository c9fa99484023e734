// The public side of `sluice up`: passes requests to the engine's process and its answers back,
// unbuffered, and answers for it while there is none.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/clock.h"
#include "net/event_loop.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "server/reply.h"

namespace sluice::apps {

struct ProxyLimits {
  int64_t held_max = 256;                    // requests that wait for an engine; then 503
  int64_t hold_timeout_ns = 10'000'000'000;  // each at most; then 503
};

class EngineProxy {
 public:
  EngineProxy(net::EventLoop& loop, const core::Clock& clock, ProxyLimits limits,
              server::Replier replier);

  // The HTTP server's handler.
  void handle(const net::Request& request, net::Responder responder);

  // There is an engine: what was held is sent there.
  void connect(const net::Endpoint& endpoint);
  // There is none any more. `ready_in_ns` is when the next one is expected, for Retry-After.
  void disconnect(int64_t ready_in_ns);
  // No further engine will come: what is held is refused.
  void shut_down();

 private:
  struct Pending;  // a request that has not been sent, or was and came back unsent
  class Forward;   // one on its way
  void dispatch(std::shared_ptr<Pending> pending);
  void hold(std::shared_ptr<Pending> pending);
  void refuse(const Pending& pending, std::string_view message);
  void expire_held();
  void start_expiry_timer();
  int64_t retry_after_seconds() const;

  net::EventLoop& loop_;
  const core::Clock& clock_;
  const ProxyLimits limits_;
  const server::Replier replier_;
  std::shared_ptr<net::HttpClient> engine_;    // null: none
  std::deque<std::shared_ptr<Pending>> held_;  // the longest waiting first
  net::Timer expiry_timer_;
  int64_t ready_at_ns_ = 0;
  uint64_t requests_ = 0;
  bool shut_down_ = false;
};

}  // namespace sluice::apps
