// The public side of one data loop: takes requests, asks who, whether and where, passes them on and
// their answers back, and writes down what each came to. docs/gateway.md tells the way of a
// request.
//
//   Gateway gateway(options);
//   gateway.update(RoutingTable::make(directory, …));
//   net::HttpServer server({.loop = loop,
//                           .handler = [&](const auto& request, auto responder) {
//                             gateway.handle(request, std::move(responder));
//                           },
//                           .check_head = [&](const auto& head) { return gateway.check_head(head);
//                           }, .refusal = [&](int status, auto text) { return gateway.refusal(…);
//                           }});
//
// All of it on the loop's thread. The server goes before the gateway.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/error.h"
#include "api/relayed_request.h"
#include "core/rng.h"
#include "gateway/edge/exchange.h"
#include "gateway/edge/model_prompts.h"
#include "gateway/edge/options.h"
#include "gateway/edge/replies.h"
#include "gateway/edge/upstreams.h"
#include "gateway/routing/fair_queue.h"
#include "net/http_server.h"

namespace sluice::gateway {

class Gateway {
 public:
  explicit Gateway(GatewayOptions options);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  // Of net::ServerOptions.
  void handle(const net::Request& request, net::Responder responder);
  std::optional<net::Response> check_head(const net::Request& head);
  net::Response refusal(int status, std::string_view message);

  // What holds from now on. Streams of keys that it revokes end here. Requests that have begun keep
  // the directory they began with, but where limits hold more than before (LimitsChange), they are
  // all looked at and count in those that are new to them (LimitReservation::join). Returns those
  // that the records must leave out when they say what was used of these.
  enum class Limits : uint8_t { kHoldNoMore, kHoldMore };
  std::vector<contract::RequestId> update(std::shared_ptr<const RoutingTable> table, Limits limits);

  // What replicas are shown from now on; what has been sent goes on.
  void take_secrets(std::map<std::string, std::string> secrets);

  // Readiness says no from now on, what waits is refused; what runs is answered.
  void drain();

  // The same, and what runs ends with an error.
  void end_all();

  int64_t running() const { return static_cast<int64_t>(exchanges_.size()); }
  int64_t waiting() const { return waiting_.size(); }

 private:
  // ---- routes that need no upstream (routes.cpp)
  struct RouteRow;
  static const RouteRow* find_route(const net::Request& request);  // null: no such path
  void begin(const net::Request& request, net::Responder responder, contract::EventKind kind);
  void answer_alive(const net::Request& request, net::Responder responder);
  void answer_ready(const net::Request& request, net::Responder responder);
  void list_models(const net::Request& request, net::Responder responder);
  void show_model(const net::Request& request, net::Responder responder);
  void answer_preflight(const net::Request& request, net::Responder responder);
  net::Response error_reply(const api::Error& error, std::string_view request_id) const;
  void send_json(net::Responder& responder, int status, std::string_view body);

 public:
  // ---- for the filters and the way back, in this folder only

  const GatewayOptions& options() const { return options_; }
  int64_t now_ns() const { return options_.clock.now_ns(); }
  uint64_t random() { return rng_.bits(); }
  const std::shared_ptr<const RoutingTable>& table() const { return table_; }
  Upstreams& upstreams() { return upstreams_; }
  api::RelayedRequestParser& parser() { return parser_; }
  FairQueue& waiting_queue() { return waiting_; }
  // Empty, for the headers of one message.
  HeaderList& header_list() {
    headers_.clear();
    return headers_;
  }
  const LimitSets& limit_sets(const KeyEntry& key, const ModelEntry& model);
  PromptEstimate& prompt_estimate(const ModelEntry& model);
  ModelPrompts& prompts() { return prompts_; }
  // Sets exchange.prompt_tokens now, or later and runs it on from its next filter.
  ModelPrompts::Counting count_prompt(Exchange& exchange);

  std::string& body_buffer() { return body_buffer_; }

  // Of a tenant, for those of its requests that name a salt of their own: without a secret of the
  // gateway nobody can tell what it is, or look for one that meets another tenant's.
  std::string combined_salt(const TenantEntry& tenant, std::string_view client_salt);

  // Who asks, or why not.
  struct Caller {
    const KeyEntry* key = nullptr;
    std::optional<api::Error> refusal = std::nullopt;
  };
  Caller authenticate(const net::Request& head);
  // What a browser wants to read beside the answer, where its page may.
  void allow_origin(HeaderList* headers) const;

  // Answers with an error, which ends the request as kRefused unless its event is written already.
  void refuse(Exchange& exchange, const api::Error& error,
              std::span<const net::OwnedHeader> more = {});
  // Writes the one event; false where it could not be kept. Afterwards the exchange has left the
  // table, only its answer's last bytes are still to be written.
  [[nodiscard]] bool end(Exchange& exchange, contract::Outcome outcome, int status);
  // The one that was ended last.
  const contract::UsageEvent& last_event() const { return event_; }
  // The valve holds it back until a place is free or `at_ns`.
  void wait(Exchange& exchange, int64_t at_ns);
  void client_gone(Exchange& exchange);

 private:
  const KeyEntry* guest(const net::Request& head, std::string_view secret) const;
  void on_tick();
  void tick_one(Exchange& exchange, int64_t now_ns);
  void send_heartbeat(Exchange& exchange, int64_t now_ns);
  void start_tick();
  void wake_waiting();
  void route_again(Exchange& exchange);  // that waits
  void leave_queue(Exchange& exchange);
  void end_revoked(const RoutingTable& table);
  std::vector<contract::RequestId> join_limits(const Directory& directory);
  void forget(Exchange& exchange);
  std::shared_ptr<Exchange> find(uint64_t handle) const;  // null: it has ended

  const GatewayOptions options_;
  const std::shared_ptr<ExchangePool> pool_;
  core::Rng rng_;
  KeyHasher hasher_;
  api::RelayedRequestParser parser_;
  Upstreams upstreams_;
  ModelPrompts prompts_;
  std::shared_ptr<const RoutingTable> table_;
  std::vector<std::shared_ptr<const LimitSet>> key_limits_;    // by KeyEntry::index, filled at use
  std::vector<std::shared_ptr<const LimitSet>> model_limits_;  // by ModelEntry::index
  std::vector<std::shared_ptr<PromptEstimate>> estimates_;     // by ModelEntry::index
  LimitSets scratch_sets_;
  std::vector<std::shared_ptr<Exchange>> exchanges_;
  FairQueue waiting_;
  HeaderList headers_;
  std::string body_buffer_;
  uint64_t handles_ = 0;
  int64_t wake_at_ns_ = 0;      // 0: nothing waits for a time
  contract::UsageEvent event_;  // its memory is used again
  bool draining_ = false;
  net::Timer tick_timer_;                 // runs while there are exchanges
  net::Timer wake_timer_;                 // a place may be free
  const std::shared_ptr<Gateway*> self_;  // for what another thread sends it: gone with it
};

}  // namespace sluice::gateway
