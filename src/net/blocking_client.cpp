#include "net/blocking_client.h"

#include <optional>

namespace sluice::net {
namespace {

class Collector final : public ResponseSink {
 public:
  Collector(EventLoop& loop, BlockingClient::OnBody on_body)
      : loop_(loop), on_body_(std::move(on_body)) {}

  void on_head(const ResponseHead& head) override {
    response_.status = head.status;
    for (const Header& header : head.headers)
      response_.headers.push_back(
          {.name = std::string(header.name), .value = std::string(header.value)});
  }
  void on_body(std::string_view bytes) override {
    if (on_body_)
      on_body_(response_, bytes);
    else
      response_.body.append(bytes);
  }
  void on_end(CallEnd end, std::string_view message) override {
    if (end != CallEnd::kComplete) failure_ = message;
    ended_ = true;
    loop_.stop();
  }

  core::Result<Response> take() {
    if (!ended_) return core::Error{core::ErrorCode::kIo, "the request was cancelled"};
    if (failure_) return core::Error{core::ErrorCode::kIo, *failure_};
    return std::move(response_);
  }

 private:
  EventLoop& loop_;
  const BlockingClient::OnBody on_body_;
  Response response_{.status = 0};
  std::optional<std::string> failure_;
  bool ended_ = false;
};

}  // namespace

BlockingClient::BlockingClient(Endpoint endpoint, ClientLimits limits,
                               std::shared_ptr<const TlsClient> tls)
    : client_(loop_, std::move(endpoint), limits, std::move(tls)) {}

core::Result<Response> BlockingClient::request(const ClientRequest& request) {
  return this->request(request, nullptr);
}

core::Result<Response> BlockingClient::request(const ClientRequest& request, OnBody on_body) {
  const auto collector = std::make_shared<Collector>(loop_, std::move(on_body));
  ClientCall call = client_.send(request, collector);
  loop_.run();
  call.cancel();  // where the loop was stopped by cancel()
  return collector->take();
}

void BlockingClient::cancel() {
  loop_.stop();
}

}  // namespace sluice::net
