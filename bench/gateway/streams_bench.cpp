// Many slow streams: a mock engine and a load generator, for bench/gateway/streams.sh.
//
//   streams_bench engine PORT TOKENS           answers each request with so many events, two a
//   second streams_bench load PORT STREAMS SECONDS    opens the streams over SECONDS, waits for
//   their ends
//
// Each event carries the time of its writing; the load generator says how old events were when they
// came, and whether any was lost.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "net/http_client.h"
#include "net/http_server.h"

namespace sluice::net {
namespace {

constexpr int64_t kTickNs = 5'000'000;
constexpr int64_t kBetweenTokensNs = 500'000'000;
constexpr std::string_view kMark = "\"content\":\"t";

struct Stream {
  Responder responder;
  int64_t next_ns = 0;
  int64_t left = 0;
};

int run_engine(uint16_t port, int64_t tokens) {
  EventLoop loop;
  std::vector<Stream> streams;
  ServerLimits limits;
  limits.connections_max = 20'000;
  HttpServer server(
      {.loop = loop, .limits = limits, .handler = [&](const Request&, Responder responder) {
         const Header headers[] = {{"Content-Type", "text/event-stream"}};
         responder.start_stream(200, headers);
         streams.push_back({responder, loop.now_ns() + kBetweenTokensNs, tokens});
       }});
  if (!server.listen("127.0.0.1", port).ok()) return 1;
  Timer timer(loop);
  std::function<void()> tick = [&] {
    const int64_t now_ns = loop.now_ns();
    for (Stream& stream : streams) {
      if (stream.next_ns > now_ns) continue;
      stream.next_ns += kBetweenTokensNs;
      if (!stream.responder.is_open()) {
        stream.left = 0;
      } else if (stream.left-- > 0) {
        stream.responder.write(
            fmt::format("data: {{\"id\":\"c\",\"created\":1,\"choices\":[{{\"index\":0,\"delta\":"
                        "{{{}{}\"}},\"finish_reason\":null}}],\"usage\":null}}\n\n",
                        kMark, loop.now_ns()));
      } else {
        stream.responder.write(fmt::format(
            "data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":"
            "\"stop\"}}]}}\n\ndata: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":9,"
            "\"completion_tokens\":{}}}}}\n\ndata: [DONE]\n\n",
            tokens));
        stream.responder.finish();
      }
    }
    std::erase_if(streams, [](const Stream& stream) { return stream.left < 0; });
    timer.start(kTickNs, [&] { tick(); });
  };
  tick();
  loop.run();
  return 0;
}

struct Tally {
  std::vector<int64_t> delays_ns;
  int64_t ended = 0;
  int64_t complete = 0;
};

class Reader final : public ResponseSink {
 public:
  Reader(EventLoop& loop, Tally* tally) : loop_(loop), tally_(*tally) {}
  void on_head(const ResponseHead& head) override { good_ = head.status == 200; }
  void on_body(std::string_view bytes) override {
    for (size_t at = 0; (at = bytes.find(kMark, at)) != std::string_view::npos;) {
      at += kMark.size();
      int64_t sent_ns = 0;
      std::from_chars(bytes.data() + at, bytes.data() + bytes.size(), sent_ns);
      tally_.delays_ns.push_back(loop_.now_ns() - sent_ns);
    }
    done_ = done_ || bytes.find("[DONE]") != std::string_view::npos;
  }
  void on_end(CallEnd end, std::string_view) override {
    ++tally_.ended;
    tally_.complete += good_ && done_ && end == CallEnd::kComplete ? 1 : 0;
  }

 private:
  EventLoop& loop_;
  Tally& tally_;
  bool good_ = false;
  bool done_ = false;
};

int run_load(uint16_t port, int64_t streams, int64_t ramp_s) {
  EventLoop loop;
  HttpClient client(loop, {.host = "127.0.0.1", .port = port}, {.connections_max = 20'000});
  Tally tally;
  const Header headers[] = {{"Content-Type", "application/json"},
                            {"Authorization", "Bearer sk-test"}};
  int64_t opened = 0;
  const int64_t begin_ns = loop.now_ns();
  Timer timer(loop);
  std::function<void()> tick = [&] {
    const int64_t due = std::min(streams, (loop.now_ns() - begin_ns) * streams /
                                              std::max<int64_t>(1, ramp_s * 1'000'000'000));
    for (; opened < due; ++opened)
      client.send({.method = Method::kPost,
                   .target = "/v1/chat/completions",
                   .headers = headers,
                   .body = R"({"model":"m","stream":true,"messages":[{"role":"user","content":)"
                           R"("Tell me a story."}],"max_tokens":64})"},
                  std::make_shared<Reader>(loop, &tally));
    if (tally.ended == streams) return loop.stop();
    timer.start(kTickNs, [&] { tick(); });
  };
  tick();
  loop.run();
  std::vector<int64_t>& delays = tally.delays_ns;
  std::sort(delays.begin(), delays.end());
  const auto at = [&](double share) {
    if (delays.empty()) return 0.0;
    const auto last = static_cast<double>(delays.size() - 1);
    return static_cast<double>(delays[static_cast<size_t>(last * share)]) / 1e6;
  };
  fmt::print(
      "{{\"streams\":{},\"complete\":{},\"events\":{},\"delay_ms\":{{\"p50\":{:.3f},\"p99\":{:.3f},"
      "\"max\":{:.3f}}}}}\n",
      streams, tally.complete, delays.size(), at(0.5), at(0.99), at(1));
  return tally.complete == streams ? 0 : 1;
}

}  // namespace
}  // namespace sluice::net

int main(int count, char** arguments) {
  const std::string role = count > 1 ? arguments[1] : "";
  const auto number = [&](int i) { return std::atoll(arguments[i]); };
  if (role == "engine" && count == 4)
    return sluice::net::run_engine(static_cast<uint16_t>(number(2)), number(3));
  if (role == "load" && count == 5)
    return sluice::net::run_load(static_cast<uint16_t>(number(2)), number(3), number(4));
  fmt::print(stderr, "streams_bench engine PORT TOKENS | load PORT STREAMS SECONDS\n");
  return 2;
}
