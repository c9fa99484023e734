// An HTTP/1.1 client for a thread without an event loop: tools and tests.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "core/result.h"
#include "net/event_loop.h"
#include "net/http_client.h"

namespace sluice::net {

// One request at a time, from one thread; the connection is kept between requests.
class BlockingClient {
 public:
  explicit BlockingClient(Endpoint endpoint, ClientLimits limits = {},
                          std::shared_ptr<const TlsClient> tls = nullptr);

  // The whole response, whatever its status. An Error where none came, with the endpoint.
  core::Result<Response> request(const ClientRequest& request);

  // The same, but the body goes to on_body(head, bytes) as it arrives and stays out of the result.
  using OnBody = std::function<void(const Response& head, std::string_view bytes)>;
  core::Result<Response> request(const ClientRequest& request, OnBody on_body);

  // From any thread, or from on_body: the request in progress, or the next one if there is none,
  // returns an Error.
  void cancel();

 private:
  EventLoop loop_;
  HttpClient client_;
};

}  // namespace sluice::net
