#include "pass_through.h"

#include <utility>
#include <vector>

namespace sluice::net {
namespace {

constexpr int64_t kBufferedBytesMax = 256 << 10;  // for a slow reader, before the other side waits

class Passage final : public ResponseSink, public std::enable_shared_from_this<Passage> {
 public:
  Passage(Responder responder, PassThrough options)
      : responder_(std::move(responder)), options_(std::move(options)) {}

  void start(const Request& request) {
    const std::vector<Header> headers = end_to_end(request.headers);
    responder_.on_close([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->abandon();
    });
    call_ = options_.client.send({.method = request.method,
                                  .target = request.target,
                                  .headers = headers,
                                  .body = request.body},
                                 shared_from_this());
  }

  void on_whole(const ResponseHead& head, std::string_view body) override {
    begun_ = whole_ = true;
    if (responder_.is_open()) responder_.send(head.status, end_to_end(head.headers), body);
  }
  void on_head(const ResponseHead& head) override {
    begun_ = true;
    if (responder_.is_open()) responder_.start_stream(head.status, end_to_end(head.headers));
  }
  void on_body(std::string_view bytes) override {
    if (!responder_.is_open()) return;
    responder_.write(bytes);
    if (responder_.buffered_bytes() <= kBufferedBytesMax) return;
    call_.pause();
    responder_.on_drained([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->call_.resume();
    });
  }
  void on_end(CallEnd end, std::string_view message) override {
    if (responder_.is_open()) finish(end, message);
    if (options_.on_end) options_.on_end(end);
  }

 private:
  void finish(CallEnd end, std::string_view message) {
    if (whole_) return;
    if (end == CallEnd::kComplete) return responder_.finish();
    if (begun_) return responder_.abort();
    const int status = end == CallEnd::kTimedOut ? 504 : 502;
    responder_.send(options_.refusal(status, message));
  }

  void abandon() {
    call_.cancel();
    if (options_.on_end) options_.on_end(CallEnd::kCut);
  }

  Responder responder_;
  PassThrough options_;
  ClientCall call_;
  bool begun_ = false;
  bool whole_ = false;
};

}  // namespace

void pass_through(const Request& request, Responder responder, PassThrough options) {
  std::make_shared<Passage>(std::move(responder), std::move(options))->start(request);
}

}  // namespace sluice::net
