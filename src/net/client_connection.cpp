#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "net/http_client_impl.h"

namespace sluice::net {
namespace {

constexpr size_t kReadBytes = 64 << 10;
constexpr int kReadsPerEvent = 16;  // then the other connections have their turn
constexpr int64_t kTrustedIdleNs = 2'000'000;

}  // namespace

ClientConnection::ClientConnection(ClientCore& core)
    : core_(core),
      socket_(core.loop.impl().poller, *this, -1, Urgency::kAnswer),
      parser_(&core.message_limits) {}

void ClientConnection::open() {
  phase_begin_ns_ = core_.loop.now_ns();
  const Endpoint& to = core_.endpoint;
  if (const auto address = numeric_address(to.host, to.port)) {
    addresses_ = {*address};
    return connect_next();
  }
  EventLoop& loop = core_.loop;
  loop.impl().resolver->resolve(
      to.host, to.port, [&loop, self = shared_from_this()](Resolver::Addresses found) mutable {
        loop.post([self = std::move(self), found = std::move(found)]() mutable {
          if (self->phase_ != Phase::kConnecting) return;
          if (!found.ok()) return self->fail(CallEnd::kNotConnected, found.error().message);
          self->addresses_ = std::move(found).value();
          std::reverse(self->addresses_.begin(), self->addresses_.end());
          self->connect_next();
        });
      });
}

// Writable: connected, or refused.
void ClientConnection::connect_next() {
  int fault = EHOSTUNREACH;
  while (!addresses_.empty()) {
    const SocketAddress address = addresses_.back();
    addresses_.pop_back();
    socket_.close();
    const int descriptor =
        ::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor >= 0) socket_.open(descriptor);
    const bool begun =
        descriptor >= 0 &&
        (::connect(descriptor, address.data(), address.bytes) == 0 || errno == EINPROGRESS);
    if (begun) return socket_.wait_writable();
    fault = errno;
  }
  fail_soon(CallEnd::kNotConnected, std::strerror(fault));
}

void ClientConnection::on_connected() {
  int fault = 0;
  socklen_t bytes = sizeof fault;
  ::getsockopt(socket_.native_handle(), SOL_SOCKET, SO_ERROR, &fault, &bytes);
  if (fault != 0 && !addresses_.empty()) return connect_next();
  if (fault != 0) return fail(CallEnd::kNotConnected, std::strerror(fault));
  const int on = 1;
  ::setsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (!core_.tls) return ready();
  tls_ = TlsStream::connect(core_.tls->source(), socket_.native_handle(), core_.endpoint.host);
  shake_hands();
}

void ClientConnection::shake_hands() {
  const TlsStream::Handshake state = tls_->handshake();
  if (state == TlsStream::Handshake::kDone) return ready();
  if (state == TlsStream::Handshake::kFailed) return fail(CallEnd::kNotConnected, tls_->failure());
  state == TlsStream::Handshake::kWantsRead ? socket_.wait_readable() : socket_.wait_writable();
}

// Sends what begin() was given meanwhile.
void ClientConnection::ready() {
  enter(Phase::kWaiting);
  wait_readable();
  wait_writable();
}

IoResult ClientConnection::receive(ByteBuffer* buffer) {
  return tls_ ? tls_->receive(buffer) : net::receive(socket_.native_handle(), buffer);
}

IoResult ClientConnection::send_pieces(std::span<const std::string_view> pieces) {
  return tls_ ? tls_->send(pieces) : net::send_pieces(socket_.native_handle(), pieces);
}

void ClientConnection::begin(Method method, std::string_view head, std::string_view body,
                             std::shared_ptr<ResponseSink> sink) {
  sink_ = std::move(sink);
  ++serial_;
  paused_ = reusable_ = false;
  parser_.start(method);
  if (phase_ == Phase::kConnecting) {
    output_.append(head);
    output_.append(body);
    return;
  }
  enter(Phase::kWaiting);
  const std::string_view pieces[] = {head, body};
  const IoResult result = hold_back(pieces, &socket_) ? IoResult{} : send_pieces(pieces);
  if (result.status == IoStatus::kClosed)
    return fail_soon(CallEnd::kCut, "the connection was closed");
  output_.reserve(head.size() + body.size() - result.bytes);
  output_.append(head.substr(std::min(result.bytes, head.size())));
  output_.append(body.substr(result.bytes - std::min(result.bytes, head.size())));
  if (!output_.empty() && !socket_.holds_output()) wait_writable();
  wait_readable();
}

void ClientConnection::close() {
  if (phase_ == Phase::kClosed) return;
  const Phase phase_before = std::exchange(phase_, Phase::kClosed);
  const std::shared_ptr<ClientConnection> self = shared_from_this();
  if (tls_ && phase_before == Phase::kIdle) tls_->end();
  socket_.close();
  input_.release();
  output_.release();
  sink_.reset();
  core_.forget(*this);
}

void ClientConnection::fail(CallEnd end, std::string_view what) {
  const std::shared_ptr<ResponseSink> sink = std::move(sink_);
  const std::string message = fmt::format("{}: {}", core_.where(), what);
  close();
  if (sink) sink->on_end(end, message);
}

void ClientConnection::fail_soon(CallEnd end, std::string what) {
  core_.loop.post([self = shared_from_this(), end, what = std::move(what), serial = serial_] {
    if (self->phase_ != Phase::kClosed && self->serial_ == serial) self->fail(end, what);
  });
}

void ClientConnection::wait_readable() {
  if (phase_ == Phase::kClosed || reading_soon_) return;
  if (tls_ == nullptr || !tls_->has_pending()) return socket_.wait_readable();
  reading_soon_ = true;  // the socket will not say so
  core_.loop.post([self = shared_from_this()] {
    self->reading_soon_ = false;
    if (self->phase_ != Phase::kClosed) self->on_socket_readable();
  });
}

void ClientConnection::wait_writable() {
  if (phase_ != Phase::kClosed) socket_.wait_writable();
}

void ClientConnection::on_socket_writable() {
  const std::shared_ptr<ClientConnection> self = shared_from_this();
  if (phase_ == Phase::kConnecting) return tls_ ? shake_hands() : on_connected();
  const std::string_view pieces[] = {output_.view()};
  const IoResult result = send_pieces(pieces);
  // A peer that takes no more may have said why: the reading side finds out.
  output_.consume(result.status == IoStatus::kClosed ? output_.size() : result.bytes);
  if (!output_.empty()) return wait_writable();
  output_.release_if_large();
  if (phase_ == Phase::kWaiting) phase_begin_ns_ = core_.loop.now_ns();
}

void ClientConnection::on_socket_readable() {
  const std::shared_ptr<ClientConnection> self = shared_from_this();
  if (phase_ == Phase::kConnecting) return tls_ ? shake_hands() : on_connected();
  ByteBuffer& input = input_.empty() ? core_.input : input_;
  bool running = true;
  for (int reads = 0; running && !paused_ && reads < kReadsPerEvent; ++reads) {
    input.reserve(kReadBytes);
    const size_t room = input.free();
    const IoResult got = receive(&input);
    if (got.status == IoStatus::kWouldBlock) break;
    if (got.status == IoStatus::kClosed || phase_ == Phase::kIdle) {
      core_.input.consume(core_.input.size());
      return on_end_of_input();
    }
    running = deliver(input);
    if (got.bytes < room) break;
  }
  if (running && &input != &input_) input_.append(input.view());
  if (&input != &input_) input.consume(input.size());
  if (input_.empty()) input_.release();
  if (!paused_) wait_readable();
}

void ClientConnection::on_end_of_input() {
  if (phase_ == Phase::kIdle) return close();
  const bool cut = tls_ && !tls_->ended_cleanly();
  if (parser_.ends_with_connection() && !cut) return complete();
  fail(CallEnd::kCut, parser_.begun() ? "the connection was closed in the middle of a response"
                                      : "the connection was closed before a response");
}

// The whole response in one call where it is there already.
bool ClientConnection::deliver_head(ByteBuffer& input) {
  enter(Phase::kReceiving);
  reusable_ = parser_.head().keep_alive;
  const uint64_t serial = serial_;
  const std::optional<std::string_view> whole = parser_.whole_body(input);
  const std::shared_ptr<ResponseSink> sink = sink_;
  if (whole)
    sink->on_whole(parser_.head(), *whole);
  else
    sink->on_head(parser_.head());
  if (phase_ == Phase::kClosed || serial_ != serial) return false;
  if (whole) parser_.skip_whole_body();
  return true;
}

bool ClientConnection::deliver(ByteBuffer& input) {
  for (;;) {
    if (paused_) return true;
    switch (parser_.next(input)) {
      case ResponseParser::Event::kNeedMore:
        return true;
      case ResponseParser::Event::kHead:
        if (!deliver_head(input)) return false;
        break;
      case ResponseParser::Event::kBody: {
        phase_begin_ns_ = core_.loop.now_ns();
        const std::shared_ptr<ResponseSink> sink = sink_;
        sink->on_body(parser_.body());
        if (phase_ == Phase::kClosed) return false;
        break;
      }
      case ResponseParser::Event::kDone:
        // Bytes behind the response, or of the request, leave the connection in doubt.
        if (!input.empty() || !output_.empty()) reusable_ = false;
        input.consume(input.size());
        complete();
        return false;
      case ResponseParser::Event::kFailed:
        fail(CallEnd::kMalformed, parser_.error().message);
        return false;
    }
  }
}

void ClientConnection::complete() {
  const std::shared_ptr<ResponseSink> sink = std::move(sink_);
  if (reusable_) {
    input_.release();
    enter(Phase::kIdle);
    core_.idle.push_back(shared_from_this());
    ++core_.stats.idle;
    wait_readable();
  } else {
    close();
  }
  sink->on_end(CallEnd::kComplete, "");
}

void ClientConnection::resume() {
  if (!std::exchange(paused_, false)) return;
  core_.loop.post([self = shared_from_this(), serial = serial_] {
    if (self->phase_ == Phase::kClosed || self->serial_ != serial || self->paused_) return;
    self->phase_begin_ns_ = self->core_.loop.now_ns();
    if (!self->input_.empty() && !self->deliver(self->input_)) return;
    if (!self->paused_) self->wait_readable();
  });
}

// Asking the kernel costs as much as a small message: a connection that was just used stands.
bool ClientConnection::still_usable() const {
  const bool just_used = core_.loop.now_ns() - phase_begin_ns_ < kTrustedIdleNs;
  return just_used || (tls_ ? tls_->has_no_news() : has_no_news(socket_.native_handle()));
}

void ClientConnection::enter(Phase phase) {
  phase_ = phase;
  phase_begin_ns_ = core_.loop.now_ns();
}

void ClientConnection::check_deadline(int64_t now_ns) {
  const ClientLimits& limits = core_.limits;
  const int64_t since_ns = now_ns - phase_begin_ns_;
  switch (phase_) {
    case Phase::kConnecting:
      if (since_ns > limits.connect_timeout_ns)
        fail(CallEnd::kNotConnected, "no connection within the time limit");
      break;
    case Phase::kWaiting:
      if (since_ns > limits.response_timeout_ns && !paused_)
        fail(CallEnd::kTimedOut, "no response within the time limit");
      break;
    case Phase::kReceiving:
      if (since_ns > limits.stall_timeout_ns && !paused_)
        fail(CallEnd::kTimedOut, "the response stalled");
      break;
    case Phase::kIdle:
      if (since_ns > limits.idle_timeout_ns) close();
      break;
    case Phase::kClosed:
      break;
  }
}

}  // namespace sluice::net
