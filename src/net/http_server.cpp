#include "net/http_server.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "net/check_listen.h"
#include "net/http_server_impl.h"

namespace sluice::net {
namespace {

constexpr int kAcceptsPerEvent = 64;             // then the connections have their turn
constexpr size_t kRefusedMax = 64;               // refused connections that are told why, at a time
constexpr int64_t kAcceptRetryNs = 100'000'000;  // after the system had no descriptor left
constexpr int64_t kTickMinNs = 1'000'000;
constexpr int64_t kTickMaxNs = 500'000'000;

MessageLimits message_limits_of(const ServerLimits& limits) {
  MessageLimits message;
  message.header_bytes_max = limits.header_bytes_max;
  message.target_bytes_max = limits.target_bytes_max;
  message.headers_max = limits.headers_max;
  message.body_bytes_max = limits.body_bytes_max;
  return message;
}

// Deadlines are noticed at most an eighth of the shortest one too late.
int64_t tick_ns(const ServerLimits& limits) {
  const int64_t shortest =
      std::min({limits.header_timeout_ns, limits.body_timeout_ns, limits.idle_timeout_ns,
                limits.write_stall_timeout_ns, limits.linger_timeout_ns});
  return std::clamp(shortest / 8, kTickMinNs, kTickMaxNs);
}

core::Result<SocketAddress> parse_address(std::string_view host, uint16_t port) {
  std::string_view number = host == "localhost" ? "127.0.0.1" : host;
  if (number.size() > 2 && number.front() == '[' && number.back() == ']')
    number = number.substr(1, number.size() - 2);
  const auto address = numeric_address(number, port);
  if (!address)
    return core::invalid("host '{}' is not a numeric address (such as 127.0.0.1 or ::1)", host);
  return *address;
}

// A listening, non-blocking socket; −1 and errno.
int open_acceptor(const SocketAddress& address, PortUse port_use) {
  const int acceptor = ::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (acceptor < 0) return -1;
  const auto set = [&](int level, int option, int value) {
    return ::setsockopt(acceptor, level, option, &value, sizeof value) == 0;
  };
  const bool done = set(SOL_SOCKET, SO_REUSEADDR, 1) &&
                    (port_use == PortUse::kAlone || set(SOL_SOCKET, SO_REUSEPORT, 1)) &&
                    (address.family() != AF_INET6 || !is_unspecified(address) ||
                     set(IPPROTO_IPV6, IPV6_V6ONLY, 0)) &&
                    ::bind(acceptor, address.data(), address.bytes) == 0 &&
                    ::listen(acceptor, SOMAXCONN) == 0;
  if (done) return acceptor;
  const int fault = errno;
  ::close(acceptor);
  errno = fault;
  return -1;
}

core::Result<int> listen_at(std::string_view host, uint16_t port, PortUse port_use) {
  const SocketAddress address = TRY(parse_address(host, port));
  const int acceptor = open_acceptor(address, port_use);
  if (acceptor < 0)
    return core::Error{core::ErrorCode::kIo, fmt::format("cannot listen on {} port {}: {}", host,
                                                         port, std::strerror(errno))};
  return acceptor;
}

}  // namespace

Response plain_refusal(int status, std::string_view message) {
  return {.status = status,
          .headers = {{"Content-Type", "text/plain; charset=utf-8"}},
          .body = std::string(message) + "\n"};
}

ServerCore::ServerCore(ServerOptions options)
    : loop(options.loop),
      limits(options.limits),
      message_limits(message_limits_of(options.limits)),
      handler(std::move(options.handler)),
      check_head(std::move(options.check_head)),
      refusal(std::move(options.refusal)),
      tls(std::move(options.tls)),
      port_use(options.port_use),
      tick_timer(options.loop),
      accept_retry_timer(options.loop) {
  ASSERT(handler, "a server without a handler");
  ASSERT(limits.request_bytes_max >= limits.body_bytes_max, "{} bytes for requests of {}",
         limits.request_bytes_max, limits.body_bytes_max);
  ASSERT(limits.header_bytes_max >= limits.target_bytes_max + ServerLimits::kHeaderBytesOverTarget,
         "headers of {} bytes cannot hold a target of {}", limits.header_bytes_max,
         limits.target_bytes_max);
}

core::Result<void> check_listen(std::string_view host, uint16_t port) {
  ::close(TRY(listen_at(host, port, PortUse::kAlone)));
  return {};
}

core::Result<uint16_t> ServerCore::listen(std::string_view host, uint16_t port) {
  ASSERT(loop.owned_by_caller(), "listen() from a foreign thread");
  const int acceptor = TRY(listen_at(host, port, port_use));
  SocketAddress bound;
  ::getsockname(acceptor, bound.data(), &bound.bytes);
  const size_t index = acceptors.size();
  acceptors.push_back(std::make_unique<ReadWatch>(loop.impl().poller, acceptor,
                                                  [this, index] { accept_waiting(index); }));
  acceptors.back()->wait();
  return port_of(bound);
}

void ServerCore::accept_waiting(size_t index) {
  for (int accepted = 0; accepted < kAcceptsPerEvent; ++accepted) {
    SocketAddress remote;
    const int descriptor = ::accept4(acceptors[index]->native_handle(), remote.data(),
                                     &remote.bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor >= 0) {
      admit(descriptor, remote);
      continue;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) break;
    if (errno == ECONNABORTED || errno == EINTR) continue;
    accept_retry_timer.start(kAcceptRetryNs, [this, index] { accept_waiting(index); });
    return;
  }
  acceptors[index]->wait();
}

void ServerCore::admit(int descriptor, const SocketAddress& remote) {
  const int on = 1;
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  // A client that vanished without a word is found out by what it does not acknowledge.
  const auto stall_ms = static_cast<int>(limits.write_stall_timeout_ns / 1'000'000);
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &stall_ms, sizeof(stall_ms));
  std::unique_ptr<TlsStream> stream;
  if (tls) stream = TlsStream::accept(*tls->source(), descriptor);
  auto connection =
      std::make_shared<ServerConnection>(*this, descriptor, host_text(remote), std::move(stream));
  if (!tick_timer.running()) tick();
  const bool refused = stats.connections >= limits.connections_max;
  const size_t refused_now = connections.size() - static_cast<size_t>(stats.connections);
  if (refused) ++stats.refused;
  if (refused && (tls || refused_now >= kRefusedMax)) return;
  connection->index = connections.size();
  connection->refused = refused;
  connections.push_back(connection);
  if (refused) return connection->refuse();
  ++stats.accepted;
  ++stats.connections;
  connection->start();
}

void ServerCore::forget(ServerConnection& connection) {
  if (!connection.refused) --stats.connections;
  const size_t index = connection.index;
  std::swap(connections[index], connections.back());
  connections[index]->index = index;
  connections.pop_back();
}

void ServerCore::close_all() {
  acceptors.clear();
  on_idle = {};
  while (!connections.empty()) {
    const std::shared_ptr<ServerConnection> connection = connections.back();
    connection->close();
  }
}

void ServerCore::stop_accepting() {
  ASSERT(loop.owned_by_caller(), "stop_accepting() from a foreign thread");
  draining = true;
  acceptors.clear();
  accept_retry_timer.cancel();
  for (size_t i = connections.size(); i-- > 0;) {
    const std::shared_ptr<ServerConnection> connection = connections[i];
    connection->stop_keeping_alive();
    if (connection->at_rest()) connection->close();
  }
  check_idle();
}

bool ServerCore::idle() const {
  return stats.running == 0 &&
         std::none_of(connections.begin(), connections.end(),
                      [](const auto& connection) { return connection->has_output(); });
}

void ServerCore::check_idle() {
  if (!draining || !on_idle || !idle()) return;
  loop.post(std::move(on_idle));
}

// Runs only while there are connections, so that an idle server lets the machine sleep.
void ServerCore::tick() {
  const std::shared_ptr<ServerCore> self = shared_from_this();
  date = http_date(core::SystemClock().unix_ns() / 1'000'000'000);
  const int64_t now_ns = loop.now_ns();
  // A copy: the end of one connection may end others.
  for (const auto& connection : std::vector(connections)) connection->check_deadline(now_ns);
  tick_timer.start(tick_ns(limits), [this] {
    if (!connections.empty()) tick();
  });
}

HttpServer::HttpServer(ServerOptions options)
    : core_(std::make_shared<ServerCore>(std::move(options))) {}

HttpServer::~HttpServer() {
  ASSERT(core_->loop.owned_by_caller(), "the server is destroyed by a foreign thread");
  core_->close_all();
}

core::Result<uint16_t> HttpServer::listen(std::string_view host, uint16_t port) {
  return core_->listen(host, port);
}
void HttpServer::stop_accepting() {
  core_->stop_accepting();
}
bool HttpServer::idle() const {
  return core_->idle();
}
void HttpServer::on_idle(Task callback) {
  core_->on_idle = std::move(callback);
  core_->check_idle();
}
const ServerStats& HttpServer::stats() const {
  return core_->stats;
}

}  // namespace sluice::net
