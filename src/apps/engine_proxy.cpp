#include "apps/engine_proxy.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "api/model_list.h"
#include "net/sse.h"
#include "server/api_server.h"

namespace sluice::apps {
namespace {

constexpr int64_t kBufferedBytesMax = 1 << 20;  // of an answer, for a reader slower than the engine

constexpr int64_t kRetryNs = 100'000'000;  // after an engine that is there was out of reach

// Questions about the state of things are answered at once.
bool may_wait(std::string_view path) {
  return path != "/health" && path != "/readyz" && path != "/readiness" && path != "/metrics";
}

bool asks_if_alive(const net::Request& request) {
  if (request.path == "/ping") return request.method != net::Method::kOptions;
  const bool reads = request.method == net::Method::kGet || request.method == net::Method::kHead;
  return reads && (request.path == "/livez" || request.path == "/liveness");
}

bool asks_for_version(const net::Request& request) {
  const bool reads = request.method == net::Method::kGet || request.method == net::Method::kHead;
  return reads && request.path == "/version";
}

}  // namespace

struct EngineProxy::Pending {
  net::Method method = net::Method::kGet;
  std::string target;
  std::vector<net::OwnedHeader> headers;
  std::string body;  // until the answer begins
  server::Ticket ticket;
  bool may_wait = true;       // for an engine
  int64_t held_until_ns = 0;  // 0: it was never held
};

// Takes the engine's answer and writes it to the client as it comes.
class EngineProxy::Forward final : public net::ResponseSink,
                                   public std::enable_shared_from_this<Forward> {
 public:
  Forward(EngineProxy& proxy, std::shared_ptr<Pending> pending)
      : proxy_(proxy), pending_(std::move(pending)) {}
  // The client of an engine that has gone lives as long as its calls. The last of them must not
  // free it while it calls.
  ~Forward() override {
    proxy_.loop_.post([client = std::move(client_)] {});
  }

  void start(std::shared_ptr<net::HttpClient> client) {
    client_ = std::move(client);
    std::vector<net::Header> headers;
    for (const net::OwnedHeader& header : pending_->headers)
      headers.push_back({header.name, header.value});
    call_ = client_->send({.method = pending_->method,
                           .target = pending_->target,
                           .headers = headers,
                           .body = pending_->body},
                          shared_from_this());
    responder().on_close([weak = weak_from_this()] {
      if (const auto forward = weak.lock()) forward->call_.cancel();
    });
  }

  void on_whole(const net::ResponseHead& head, std::string_view body) override {
    begin_answer();
    responder().send(head.status, net::end_to_end(head.headers), body);
  }
  void on_head(const net::ResponseHead& head) override {
    begin_answer();
    streaming_ = true;
    const std::string_view type = head.header("content-type").value_or("");
    events_ = type.starts_with("text/event-stream");
    responder().start_stream(head.status, net::end_to_end(head.headers));
  }
  void on_body(std::string_view bytes) override {
    responder().write(bytes);
    if (paused_ || responder().buffered_bytes() <= kBufferedBytesMax) return;
    paused_ = true;
    call_.pause();
    responder().on_drained([weak = weak_from_this()] {
      const auto forward = weak.lock();
      if (forward == nullptr) return;
      forward->paused_ = false;
      forward->call_.resume();
    });
  }
  void on_end(net::CallEnd end, std::string_view message) override {
    if (end == net::CallEnd::kComplete) {
      if (streaming_) responder().finish();
      return;
    }
    if (!responder().is_open()) return;
    if (!answered_ && pending_->may_wait && may_be_sent_again(end)) return proxy_.hold(pending_);
    if (!answered_) return proxy_.refuse(*pending_, lost(message));
    if (!events_) return responder().abort();
    std::string event;
    net::append_sse_data(api::to_json(api::overloaded(lost(message), 1)), &event);
    responder().write(event);
    responder().finish();
  }

 private:
  void begin_answer() {
    answered_ = true;
    pending_->body = {};  // it will not be sent again
  }
  net::Responder& responder() { return pending_->ticket.responder; }
  // The engine has not seen it, or has only been asked to show something. A request for text is not
  // sent twice: it may be what ended the engine.
  bool may_be_sent_again(net::CallEnd end) const {
    return end == net::CallEnd::kNotConnected ||
           (end == net::CallEnd::kCut && pending_->method == net::Method::kGet);
  }
  static std::string lost(std::string_view message) {
    return fmt::format(
        "the engine ended while it worked on this request ({}); it is being "
        "restarted, send the request again",
        message);
  }
  EngineProxy& proxy_;
  std::shared_ptr<net::HttpClient> client_;
  std::shared_ptr<Pending> pending_;
  net::ClientCall call_;
  bool answered_ = false;
  bool streaming_ = false;
  bool events_ = false;
  bool paused_ = false;
};

EngineProxy::EngineProxy(net::EventLoop& loop, const core::Clock& clock, ProxyConfig config)
    : loop_(loop), clock_(clock), config_(std::move(config)), hold_timer_(loop) {}

void EngineProxy::handle(const net::Request& request, net::Responder responder) {
  const int64_t now_ns = clock_.now_ns();
  server::Ticket ticket = {
      .responder = std::move(responder),
      .request_id = server::request_id_of(request, config_.id_seed, &requests_),
      .started_ns = now_ns};
  if (asks_if_alive(request)) return config_.replier.json(ticket, R"({"status":"ok"})", now_ns);
  if (asks_for_version(request))
    return config_.replier.json(ticket, api::version_json(SLUICE_VERSION), now_ns);
  auto pending = std::make_shared<Pending>(Pending{.method = request.method,
                                                   .target = std::string(request.target),
                                                   .headers = {},
                                                   .body = std::string(request.body),
                                                   .ticket = std::move(ticket)});
  for (const net::Header& header : net::end_to_end(request.headers))
    if (!net::equal_ignoring_case(header.name, "x-request-id"))
      pending->headers.push_back({std::string(header.name), std::string(header.value)});
  pending->headers.push_back({"x-request-id", pending->ticket.request_id});
  pending->may_wait = may_wait(request.path);
  if (engine_ == nullptr && !pending->may_wait)
    return refuse(*pending, "the engine is not ready yet");
  dispatch(std::move(pending));
}

void EngineProxy::dispatch(std::shared_ptr<Pending> pending) {
  if (engine_ == nullptr) return hold(std::move(pending));
  std::make_shared<Forward>(*this, std::move(pending))->start(engine_);
}

void EngineProxy::hold(std::shared_ptr<Pending> pending) {
  if (shut_down_) return refuse(*pending, "the server is shutting down");
  if (static_cast<int64_t>(held_.size()) >= config_.limits.held_max)
    return refuse(*pending, "the engine is being restarted and too many requests wait for it");
  const int64_t now_ns = clock_.now_ns();
  if (pending->held_until_ns == 0) pending->held_until_ns = now_ns + config_.limits.hold_timeout_ns;
  pending->ticket.responder.on_close(
      [this, weak = std::weak_ptr(pending)] { std::erase(held_, weak.lock()); });
  held_.push_back(std::move(pending));
  start_hold_timer();
}

void EngineProxy::connect(const net::Endpoint& endpoint) {
  // The engine is on this machine: its death closes its sockets, nothing else ends an answer.
  constexpr int64_t kDayNs = 86'400'000'000'000;
  engine_ = std::make_shared<net::HttpClient>(
      loop_, endpoint,
      net::ClientLimits{.response_timeout_ns = kDayNs,
                        .stall_timeout_ns = kDayNs,
                        .connections_max = INT32_MAX});  // ours are as many as our clients'
  dispatch_held();
}

void EngineProxy::dispatch_held() {
  for (const auto& pending : std::exchange(held_, {}))
    if (pending->ticket.responder.is_open()) dispatch(pending);
}

void EngineProxy::disconnect(int64_t ready_in_ns) {
  ready_at_ns_ = clock_.now_ns() + ready_in_ns;
  engine_ = nullptr;  // its calls end by themselves as their sockets close
}

void EngineProxy::shut_down() {
  shut_down_ = true;
  for (const auto& pending : std::exchange(held_, {}))
    refuse(*pending, "the server is shutting down");
}

std::optional<net::Response> EngineProxy::check_head(const net::Request& head) {
  const auto error = server::check_access(head, config_.api_keys);
  if (!error) return std::nullopt;
  return config_.replier.refusal(server::request_id_of(head, config_.id_seed, &requests_), *error);
}

net::Response EngineProxy::refusal(int status, std::string_view message) {
  return config_.replier.refusal(server::new_request_id(config_.id_seed, &requests_),
                                 api::from_status(status, message));
}

void EngineProxy::refuse(const Pending& pending, std::string_view message) {
  if (!pending.ticket.responder.is_open()) return;
  config_.replier.error(pending.ticket, api::overloaded(message, retry_after_seconds()),
                        clock_.now_ns());
}

int64_t EngineProxy::retry_after_seconds() const {
  const int64_t wait_ns = std::max<int64_t>(0, ready_at_ns_ - clock_.now_ns());
  return std::max<int64_t>(1, (wait_ns + 999'999'999) / 1'000'000'000);
}

// Until the first of the held has waited long enough, or may try again: an engine that is there
// but takes no connection is about to be missed, or descriptors are short.
void EngineProxy::start_hold_timer() {
  if (held_.empty()) return hold_timer_.cancel();
  const int64_t now_ns = clock_.now_ns();
  int64_t due_ns = engine_ != nullptr ? now_ns + kRetryNs : INT64_MAX;
  for (const auto& pending : held_) due_ns = std::min(due_ns, pending->held_until_ns);
  hold_timer_.start(std::max<int64_t>(1'000'000, due_ns - now_ns), [this] { on_hold_timer(); });
}

void EngineProxy::on_hold_timer() {
  const int64_t now_ns = clock_.now_ns();
  for (const auto& pending : std::exchange(held_, {})) {
    if (pending->held_until_ns <= now_ns)
      refuse(*pending, "the engine was not ready in time");
    else
      held_.push_back(pending);
  }
  if (engine_ != nullptr) dispatch_held();
  start_hold_timer();
}

}  // namespace sluice::apps
