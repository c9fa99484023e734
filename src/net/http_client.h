// An HTTP/1.1 client on an event loop: connections to one endpoint, kept and used again, responses
// handed on as they arrive. net/blocking_client.h is the same for a thread without a loop.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/result.h"
#include "net/event_loop.h"
#include "net/http.h"
#include "net/http_parser.h"
#include "net/tls.h"

namespace sluice::net {

struct Endpoint {
  std::string host;  // a name or a numeric address, without brackets
  uint16_t port = 0;
};

enum class Scheme : uint8_t { kHttp, kHttps };

struct Url {
  Scheme scheme = Scheme::kHttp;
  Endpoint endpoint;
  std::string path;  // "/v1" of "http://localhost:8080/v1", "" where there is none
};
// http:// and https://; an Error says what else was found.
core::Result<Url> parse_url(std::string_view text);

struct ClientLimits {
  int64_t connect_timeout_ns = 5'000'000'000;  // with the look-up of the name and TLS
  int64_t response_timeout_ns =
      600'000'000'000;                         // from the request to the first byte of the answer
  int64_t stall_timeout_ns = 600'000'000'000;  // between two pieces of the answer
  int64_t idle_timeout_ns = 30'000'000'000;    // shorter than the server's, which would race
  int32_t connections_max = 4096;              // over it a call fails at once
  int64_t header_bytes_max = 64 << 10;         // of a response
  int64_t body_bytes_max = INT64_MAX;          // of a response with a length or in chunks
};

// Views end with the call that hands the request over. Host, Content-Length and Connection are the
// client's.
struct ClientRequest {
  Method method = Method::kGet;
  std::string_view target = "/";
  std::span<const Header> headers = {};
  std::string_view body = {};
};

enum class CallEnd {
  kComplete,
  kNotConnected,  // nothing was sent: refused, unreachable, unknown name, not believed (TLS), too
                  // many connections
  kTimedOut,
  kCut,        // the peer went away before the response was complete
  kMalformed,  // what the peer sent is no HTTP response
};

// Who takes a response. Calls come from the loop, never inside a call of the user; views end with
// the call.
class ResponseSink {
 public:
  virtual ~ResponseSink() = default;
  virtual void on_head(const ResponseHead& head) = 0;
  virtual void on_body(std::string_view bytes) = 0;
  // Once, the last call. message: empty for kComplete, else what happened, with the endpoint.
  virtual void on_end(CallEnd end, std::string_view message) = 0;
  // In place of on_head() and on_body() where the whole response came at once.
  virtual void on_whole(const ResponseHead& head, std::string_view body) {
    on_head(head);
    if (!body.empty()) on_body(body);
  }
};

class ClientConnection;  // internal
struct ClientCore;       // internal

// A request on its way. A copy is the same call; dropping it changes nothing.
class ClientCall {
 public:
  ClientCall() = default;
  ClientCall(std::weak_ptr<ClientConnection> connection, uint64_t serial)
      : connection_(std::move(connection)), serial_(serial) {}
  // The sink is let go without another call; the connection is closed.
  void cancel();
  // No more of the response is read until resume(): the peer has to wait.
  void pause();
  void resume();

 private:
  std::shared_ptr<ClientConnection> connection() const;
  std::weak_ptr<ClientConnection> connection_;
  uint64_t serial_ = 0;
};

struct ClientStats {
  int64_t connections = 0;  // open now, or being opened
  int64_t idle = 0;         // of these
  int64_t opened = 0;       // since the start
};

class HttpClient {
 public:
  // `tls`: none for plain connections.
  HttpClient(EventLoop& loop, Endpoint endpoint, ClientLimits limits = {},
             std::shared_ptr<const TlsClient> tls = nullptr);
  // Cancels what runs.
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // The client holds the sink until its on_end(). A request is sent once: whether to try again is
  // the caller's decision.
  ClientCall send(const ClientRequest& request, std::shared_ptr<ResponseSink> sink);

  const ClientStats& stats() const;

 private:
  std::shared_ptr<ClientCore> core_;
};

}  // namespace sluice::net
