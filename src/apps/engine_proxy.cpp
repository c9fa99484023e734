#include "apps/engine_proxy.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "net/sse.h"

namespace sluice::apps {
namespace {

constexpr int64_t kBufferedBytesMax = 1 << 20;  // of an answer, for a reader slower than the engine

// Questions about readiness are answered at once.
bool may_wait(std::string_view path) {
  return path != "/health" && path != "/readyz" && path != "/readiness";
}

}  // namespace

struct EngineProxy::Pending {
  net::Method method = net::Method::kGet;
  std::string target;
  std::vector<net::OwnedHeader> headers;
  std::string body;
  server::Ticket ticket;
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
    answered_ = true;
    responder().send(head.status, passed_headers(head), body);
  }
  void on_head(const net::ResponseHead& head) override {
    answered_ = true;
    streaming_ = true;
    const std::string_view type = head.header("content-type").value_or("");
    events_ = type.starts_with("text/event-stream");
    responder().start_stream(head.status, passed_headers(head));
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
    if (!answered_ && may_be_sent_again(end)) return proxy_.hold(pending_);
    if (!answered_) return proxy_.refuse(*pending_, lost(message));
    if (!events_) return responder().abort();
    std::string event;
    net::append_sse_data(api::to_json(api::overloaded(lost(message), 1)), &event);
    responder().write(event);
    responder().finish();
  }

 private:
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
  static std::vector<net::Header> passed_headers(const net::ResponseHead& head) {
    std::vector<net::Header> headers;
    for (const net::Header& header : head.headers)
      if (!net::is_hop_by_hop(header.name)) headers.push_back(header);
    return headers;
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

EngineProxy::EngineProxy(net::EventLoop& loop, const core::Clock& clock, ProxyLimits limits,
                         server::Replier replier)
    : loop_(loop),
      clock_(clock),
      limits_(limits),
      replier_(std::move(replier)),
      expiry_timer_(loop) {}

void EngineProxy::handle(const net::Request& request, net::Responder responder) {
  const std::string_view given = request.header("x-request-id").value_or("");
  const int64_t now_ns = clock_.now_ns();
  auto pending = std::make_shared<Pending>(Pending{
      .method = request.method,
      .target = std::string(request.target),
      .headers = {},
      .body = std::string(request.body),
      .ticket = {
          .responder = std::move(responder),
          .request_id = server::is_valid_request_id(given)
                            ? std::string(given)
                            : "req-" + server::random_hex(static_cast<uint64_t>(now_ns), requests_),
          .started_ns = now_ns}});
  ++requests_;
  for (const net::Header& header : request.headers)
    if (!net::is_hop_by_hop(header.name) && !net::equal_ignoring_case(header.name, "x-request-id"))
      pending->headers.push_back({std::string(header.name), std::string(header.value)});
  pending->headers.push_back({"x-request-id", pending->ticket.request_id});
  if (engine_ == nullptr && !may_wait(request.path))
    return refuse(*pending, "the engine is not ready yet");
  dispatch(std::move(pending));
}

void EngineProxy::dispatch(std::shared_ptr<Pending> pending) {
  if (engine_ == nullptr) return hold(std::move(pending));
  std::make_shared<Forward>(*this, std::move(pending))->start(engine_);
}

void EngineProxy::hold(std::shared_ptr<Pending> pending) {
  if (shut_down_) return refuse(*pending, "the server is shutting down");
  if (static_cast<int64_t>(held_.size()) >= limits_.held_max)
    return refuse(*pending, "the engine is being restarted and too many requests wait for it");
  held_.push_back(std::move(pending));
  if (!expiry_timer_.running()) start_expiry_timer();
}

void EngineProxy::connect(const net::Endpoint& endpoint) {
  // The engine is on this machine: its death closes its sockets, nothing else ends an answer.
  constexpr int64_t kDayNs = 86'400'000'000'000;
  engine_ = std::make_shared<net::HttpClient>(
      loop_, endpoint,
      net::ClientLimits{.response_timeout_ns = kDayNs, .stall_timeout_ns = kDayNs});
  const auto held = std::exchange(held_, {});
  for (const auto& pending : held)
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

void EngineProxy::refuse(const Pending& pending, std::string_view message) {
  if (!pending.ticket.responder.is_open()) return;
  replier_.error(pending.ticket, api::overloaded(message, retry_after_seconds()), clock_.now_ns());
}

int64_t EngineProxy::retry_after_seconds() const {
  const int64_t wait_ns = std::max<int64_t>(0, ready_at_ns_ - clock_.now_ns());
  return std::max<int64_t>(1, (wait_ns + 999'999'999) / 1'000'000'000);
}

void EngineProxy::start_expiry_timer() {
  if (held_.empty()) return;
  const int64_t due_ns = held_.front()->ticket.started_ns + limits_.hold_timeout_ns;
  expiry_timer_.start(std::max<int64_t>(1'000'000, due_ns - clock_.now_ns()),
                      [this] { expire_held(); });
}

void EngineProxy::expire_held() {
  const int64_t now_ns = clock_.now_ns();
  while (!held_.empty() && held_.front()->ticket.started_ns + limits_.hold_timeout_ns <= now_ns) {
    refuse(*held_.front(), "the engine was not ready in time");
    held_.pop_front();
  }
  start_expiry_timer();
}

}  // namespace sluice::apps
