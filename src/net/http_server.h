// An HTTP/1.1 server on an event loop: keep-alive, pipelining, chunked bodies both ways, streams.
//
//   EventLoop loop;
//   HttpServer server({.loop = loop, .handler = [](const Request& request, Responder responder) {
//     responder.send({.status = 200, .body = "hello"});
//   }});
//   const uint16_t port = TRY(server.listen("127.0.0.1", 0));
//   loop.run();
//
// All of it belongs to the loop's thread; other threads use EventLoop::post().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/result.h"
#include "net/event_loop.h"
#include "net/http.h"
#include "net/tls.h"

namespace sluice::net {

struct ServerLimits {
  // By so much header_bytes_max is at least larger than target_bytes_max.
  static constexpr int64_t kHeaderBytesOverTarget = 128;
  static constexpr int64_t kRequestBytesFree = 64 << 10;

  int64_t body_bytes_max = 32 << 20;       // over it: 413
  int64_t header_bytes_max = 64 << 10;     // request line and headers; over it: 431
  int64_t target_bytes_max = 8 << 10;      // over it: 414
  int32_t headers_max = 128;               // over it: 431
  int32_t connections_max = 1024;          // a further one gets 503 with Retry-After and is closed
                                           // (with TLS: is closed)
  int64_t request_bytes_max = 48 << 20;    // of all requests' bytes that are being received or wait
                                           // for their answer to begin, the first
                                           // kRequestBytesFree of each left out; over it: 503
  int64_t pipelined_bytes_max = 64 << 10;  // read ahead of the answer in progress; then TCP waits
  int64_t send_buffer_bytes_max = 8 << 20;  // waiting for a slow reader; over it: closed

  int64_t header_timeout_ns = 10'000'000'000;  // first to last byte of the headers; over it: 408;
                                               // also for TLS to be agreed on; then closed
  int64_t body_timeout_ns = 30'000'000'000;    // for the body, plus the time that ...
  int64_t body_bytes_per_s_min = 16 << 10;     // ... its bytes so far take at this rate; over: 408
  int64_t idle_timeout_ns = 60'000'000'000;    // between requests; then closed
  int64_t write_stall_timeout_ns = 60'000'000'000;  // no byte taken by the reader; then closed
  int64_t answer_bytes_per_s_min = 16 << 10;  // that a reader takes after that time; then closed
  int64_t linger_timeout_ns = 2'000'000'000;  // a refused sender may go on, so that it reads why
  int32_t retry_after_s = 1;                  // of the 503 above
};

// What the server itself answers with when a request cannot reach the handler.
using RefusalFunction = std::function<Response(int status, std::string_view message)>;
Response plain_refusal(int status, std::string_view message);

struct Exchange;    // one request and its answer, internal
struct ServerCore;  // internal

// The answer to one request. Copies speak for the same answer. It outlives its connection: then
// is_open() is false and writing does nothing. When the last copy goes without an answer the
// client gets 500, or a stream cut short (never a complete-looking one).
class Responder {
 public:
  explicit Responder(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}

  // The whole answer. ASSERTs that none was begun.
  void send(const Response& response);
  void send(int status, std::span<const Header> headers, std::string_view body);

  // An answer in pieces: chunked for HTTP/1.1, ended by closing for HTTP/1.0. Each write() goes to
  // the socket at once; an empty one does nothing.
  void start_stream(int status, std::span<const Header> headers);
  void write(std::string_view bytes);
  void finish();
  // Ends the connection without completing the answer: the client sees it was cut short.
  void abort();

  // False once the client has gone or the answer is complete.
  bool is_open() const;
  // Bytes that the client has not taken yet and the kernel did not accept.
  int64_t buffered_bytes() const;

  // Called once, from the loop and never inside a call of the user, when the connection ends
  // before the answer does: the client hung up, read too slowly, or the server is destroyed.
  void on_close(Task callback);
  // Called once, from the loop, when buffered_bytes() is 0 again.
  void on_drained(Task callback);

 private:
  std::shared_ptr<Exchange> exchange_;
};

using Handler = std::function<void(const Request&, Responder)>;

struct ServerStats {
  int64_t connections = 0;        // open now
  int64_t running = 0;            // requests handed over and not answered yet
  int64_t accepted = 0;           // connections since the start
  int64_t refused = 0;            // over connections_max
  int64_t requests = 0;           // handed to the handler
  int64_t rejected = 0;           // answered with 4xx or 5xx by the server itself
  int64_t handshakes_failed = 0;  // of TLS
  int64_t cut = 0;                // answers that ended before they were complete
  int64_t request_bytes = 0;      // held now of those that request_bytes_max is about
};

// Sees a request whose body has not arrived yet (it is empty here): an answer refuses it unread.
using HeadCheck = std::function<std::optional<Response>(const Request& head)>;

enum class PortUse : uint8_t {
  kAlone,
  kShared,  // several servers, one a loop, listen on one port: the kernel spreads the connections
};

struct ServerOptions {
  EventLoop& loop;
  ServerLimits limits = {};
  Handler handler = {};
  HeadCheck check_head = {};  // none: every body is read
  RefusalFunction refusal = plain_refusal;
  std::shared_ptr<const TlsServer> tls = nullptr;  // none: plain connections
  PortUse port_use = PortUse::kAlone;
};

class HttpServer {
 public:
  explicit HttpServer(ServerOptions options);
  // Closes every connection at once; their on_close callbacks run inside.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // host: a numeric IPv4 or IPv6 address or "localhost". Port 0 takes a free one. Returns the port;
  // an Error says which address was taken, unknown or refused.
  core::Result<uint16_t> listen(std::string_view host, uint16_t port);

  // Closes the listening sockets and idle connections; requests that have begun are answered and
  // their connections closed.
  void stop_accepting();
  // No request is running.
  bool idle() const;
  // Called once, from the loop, when idle() next holds after stop_accepting().
  void on_idle(Task callback);

  const ServerStats& stats() const;

 private:
  std::shared_ptr<ServerCore> core_;
};

}  // namespace sluice::net
