// The public side of `sluice up`: passes requests to the engine's process and its answers back,
// unbuffered, and answers for it while there is none.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
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

struct ProxyConfig {
  ProxyLimits limits;
  server::Replier replier;
  std::vector<std::string> api_keys;  // none: everybody may ask
  uint64_t id_seed = 0;               // of request ids
};

class EngineProxy {
 public:
  EngineProxy(net::EventLoop& loop, const core::Clock& clock, ProxyConfig config);

  // The HTTP server's handler.
  void handle(const net::Request& request, net::Responder responder);
  // The HTTP server's, for the requests that it need not hand over.
  std::optional<net::Response> check_head(const net::Request& head);
  net::Response refusal(int status, std::string_view message);

  // There is an engine: what was held is sent there.
  void connect(const net::Endpoint& endpoint);
  // There is none any more. `ready_in_ns` is when the next one is expected, for Retry-After.
  void disconnect(int64_t ready_in_ns);
  // No further engine will come: what is held is refused.
  void shut_down();

 private:
  struct Pending;  // a request, from its arrival to the end of its answer
  class Forward;   // one on its way
  void dispatch(std::shared_ptr<Pending> pending);
  void hold(std::shared_ptr<Pending> pending);
  void refuse(const Pending& pending, std::string_view message);
  void dispatch_held();
  void start_hold_timer();
  void on_hold_timer();
  int64_t retry_after_seconds() const;

  net::EventLoop& loop_;
  const core::Clock& clock_;
  const ProxyConfig config_;
  std::shared_ptr<net::HttpClient> engine_;  // null: none
  std::vector<std::shared_ptr<Pending>> held_;
  net::Timer hold_timer_;  // while some are held
  int64_t ready_at_ns_ = 0;
  uint64_t requests_ = 0;
  bool shut_down_ = false;
};

}  // namespace sluice::apps
