#include "net/http_client.h"

#include <algorithm>
#include <charconv>

#include "net/http_client_impl.h"
#include "net/message_writer.h"

namespace sluice::net {
namespace {

constexpr int64_t kTickMinNs = 1'000'000;
constexpr int64_t kTickMaxNs = 500'000'000;

MessageLimits message_limits_of(const ClientLimits& limits) {
  MessageLimits message;
  message.header_bytes_max = limits.header_bytes_max;
  message.body_bytes_max = limits.body_bytes_max;
  return message;
}

int64_t tick_ns(const ClientLimits& limits) {
  const int64_t shortest = std::min({limits.connect_timeout_ns, limits.response_timeout_ns,
                                     limits.stall_timeout_ns, limits.idle_timeout_ns});
  return std::clamp(shortest / 8, kTickMinNs, kTickMaxNs);
}

std::string host_text(const Endpoint& endpoint) {
  const bool v6 = endpoint.host.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", v6 ? "[" : "", endpoint.host, v6 ? "]" : "", endpoint.port);
}

void append_request_head(const ClientRequest& request, std::string_view host, std::string* out) {
  out->append(method_text(request.method)).append(" ").append(request.target);
  out->append(" HTTP/1.1\r\nHost: ").append(host).append("\r\n");
  for (const Header& header : request.headers)
    if (!is_framing_header(header.name) && !equal_ignoring_case(header.name, "host"))
      append_header(header.name, header.value, out);
  const bool has_length = !request.body.empty() || request.method == Method::kPost ||
                          request.method == Method::kPut || request.method == Method::kPatch;
  if (has_length) append_header("Content-Length", std::to_string(request.body.size()), out);
  out->append("\r\n");
}

}  // namespace

core::Result<Url> parse_url(std::string_view text) {
  const std::string_view whole = text;
  constexpr std::string_view kPlain = "http://";
  constexpr std::string_view kTls = "https://";
  Url url;
  if (text.starts_with(kTls)) {
    url.scheme = Scheme::kHttps;
    url.endpoint.port = 443;
    text.remove_prefix(kTls.size());
  } else if (text.starts_with(kPlain)) {
    url.endpoint.port = 80;
    text.remove_prefix(kPlain.size());
  } else {
    return core::invalid("URL '{}' begins neither with http:// nor with https://", whole);
  }
  const size_t slash = std::min(text.find('/'), text.size());
  std::string_view authority = text.substr(0, slash);
  url.path = text.substr(slash);
  if (url.path.ends_with('/')) url.path.pop_back();
  size_t colon = authority.rfind(':');
  if (authority.ends_with(']')) colon = std::string_view::npos;
  if (colon != std::string_view::npos) {
    const std::string_view port = authority.substr(colon + 1);
    const auto [end, error] =
        std::from_chars(port.data(), port.data() + port.size(), url.endpoint.port);
    if (error != std::errc() || end != port.data() + port.size() || url.endpoint.port == 0)
      return core::invalid("URL '{}': '{}' is no port (1 to 65535)", whole, port);
    authority = authority.substr(0, colon);
  }
  if (authority.starts_with('[') && authority.ends_with(']'))
    authority = authority.substr(1, authority.size() - 2);
  if (authority.empty() || authority.find('@') != std::string_view::npos)
    return core::invalid("URL '{}' has no host, or a user name", whole);
  url.endpoint.host = authority;
  return url;
}

ClientCore::ClientCore(EventLoop& owner, Endpoint to, ClientLimits given,
                       std::shared_ptr<const TlsClient> believes)
    : loop(owner),
      endpoint(std::move(to)),
      host_header(host_text(endpoint)),
      limits(given),
      tls(std::move(believes)),
      message_limits(message_limits_of(given)),
      tick_timer(owner) {}

std::string ClientCore::where() const {
  return host_header;
}

void ClientCore::forget(ClientConnection& connection) {
  --stats.connections;
  const auto parked = std::find_if(idle.begin(), idle.end(),
                                   [&](const auto& one) { return one.get() == &connection; });
  if (parked != idle.end()) {
    idle.erase(parked);
    --stats.idle;
  }
  const size_t index = connection.index;
  std::swap(connections[index], connections.back());
  connections[index]->index = index;
  connections.pop_back();
}

std::shared_ptr<ClientConnection> ClientCore::take_idle() {
  while (!idle.empty()) {
    std::shared_ptr<ClientConnection> connection = idle.back();
    if (connection->still_usable()) {
      idle.pop_back();
      --stats.idle;
      return connection;
    }
    connection->close();
  }
  return nullptr;
}

void ClientCore::tick() {
  const int64_t now_ns = loop.now_ns();
  // A callback may close other connections: each is looked at once, from a copy.
  const std::vector<std::shared_ptr<ClientConnection>> all = connections;
  for (const auto& connection : all) connection->check_deadline(now_ns);
  if (connections.empty()) return;
  tick_timer.start(tick_ns(limits), [this] { tick(); });
}

std::shared_ptr<ClientConnection> ClientCall::connection() const {
  std::shared_ptr<ClientConnection> connection = connection_.lock();
  if (connection == nullptr || connection->serial() != serial_ || connection->idle())
    return nullptr;
  return connection;
}

void ClientCall::cancel() {
  if (const auto running = connection()) running->close();
}
void ClientCall::pause() {
  if (const auto running = connection()) running->pause();
}
void ClientCall::resume() {
  if (const auto running = connection()) running->resume();
}

HttpClient::HttpClient(EventLoop& loop, Endpoint endpoint, ClientLimits limits,
                       std::shared_ptr<const TlsClient> tls)
    : core_(std::make_shared<ClientCore>(loop, std::move(endpoint), limits, std::move(tls))) {}

HttpClient::~HttpClient() {
  ASSERT(core_->loop.owned_by_caller(), "the client is destroyed by a foreign thread");
  while (!core_->connections.empty()) {
    const std::shared_ptr<ClientConnection> connection = core_->connections.back();
    connection->close();
  }
}

ClientCall HttpClient::send(const ClientRequest& request, std::shared_ptr<ResponseSink> sink) {
  ClientCore& core = *core_;
  ASSERT(core.loop.owned_by_caller(), "send() from a foreign thread");
  core.head.clear();
  append_request_head(request, core.host_header, &core.head);
  std::shared_ptr<ClientConnection> connection = core.take_idle();
  if (connection != nullptr) {
    connection->begin(request.method, core.head, request.body, std::move(sink));
    return {connection, connection->serial()};
  }
  if (core.stats.connections >= core.limits.connections_max) {
    core.loop.post(
        [sink = std::move(sink), message = fmt::format("{}: {} connections are in use, the limit",
                                                       core.where(), core.stats.connections)] {
          sink->on_end(CallEnd::kNotConnected, message);
        });
    return {};
  }
  connection = std::make_shared<ClientConnection>(core);
  connection->index = core.connections.size();
  core.connections.push_back(connection);
  ++core.stats.connections;
  ++core.stats.opened;
  connection->begin(request.method, core.head, request.body, std::move(sink));
  connection->open();
  if (!core.tick_timer.running())
    core.tick_timer.start(tick_ns(core.limits), [&core] { core.tick(); });
  return {connection, connection->serial()};
}

const ClientStats& HttpClient::stats() const {
  return core_->stats;
}

}  // namespace sluice::net
