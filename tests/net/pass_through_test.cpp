// A front server that hands every request to a back server.
#include "pass_through.h"

#include <gtest/gtest.h>

#include "net/blocking_client.h"
#include "peers.h"

namespace sluice::net {
namespace {

class Chain {
 public:
  explicit Chain(Handler back, ClientLimits limits = {})
      : back_(std::move(back)), front_([this](const Request& request, Responder responder) {
          pass_through(
              request, std::move(responder),
              {.client = *client_, .on_end = [this](CallEnd end) { ends_.push_back(end); }});
        }) {
    front_.run([&] {
      client_ = std::make_unique<HttpClient>(
          front_.loop(), Endpoint{.host = "127.0.0.1", .port = back_.port()}, limits);
    });
  }
  ~Chain() {
    front_.run([&] { client_.reset(); });
  }
  ServerThread& back() { return back_; }
  ServerThread& front() { return front_; }
  std::vector<CallEnd> ends() {
    return front_.run([&] { return ends_; });
  }

 private:
  ServerThread back_;
  std::unique_ptr<HttpClient> client_;
  std::vector<CallEnd> ends_;
  ServerThread front_;
};

TEST(PassThrough, KeepsTheLengthThatAHeadTells) {
  Chain chain([](const Request&, Responder responder) {
    responder.send({.status = 200, .body = "twelve bytes"});
  });
  RawClient client(chain.front().port());
  client.send("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  const std::string answer = client.read_to_end();
  EXPECT_NE(answer.find("Content-Length: 12\r\n"), answer.npos) << answer;
  EXPECT_TRUE(answer.ends_with("\r\n\r\n")) << answer;
}

TEST(PassThrough, CarriesRequestAndResponse) {
  Chain chain([](const Request& request, Responder responder) {
    EXPECT_EQ(request.header("te"), std::nullopt);
    const Header headers[] = {{"X-Echo", request.header("x-a").value_or("")},
                              {"Keep-Alive", "timeout=5"}};
    responder.send(
        418, headers,
        fmt::format("{} {} {}", method_text(request.method), request.target, request.body));
  });
  BlockingClient client({.host = "127.0.0.1", .port = chain.front().port()});
  const Header headers[] = {{"X-A", "b"}, {"TE", "trailers"}};
  for (int i = 0; i < 3; ++i) {
    const Response response =
        client.request({.method = Method::kPut, .target = "/x?y", .headers = headers, .body = "z"})
            .value();
    EXPECT_EQ(response.status, 418);
    EXPECT_EQ(response.body, "PUT /x?y z");
    EXPECT_EQ(response.headers.back().name, "X-Echo");
    EXPECT_EQ(response.headers.back().value, "b");
  }
  EXPECT_EQ(chain.back().stats().accepted, 1);
}

// The next event is sent only after the client got the last one: nothing waits on the way.
TEST(PassThrough, HoldsNoEventBack) {
  Responder stream(nullptr);
  Chain chain([&](const Request&, Responder responder) {
    stream = responder;
    stream.start_stream(200, {});
    stream.write("data: 0\n\n");
  });
  BlockingClient client({.host = "127.0.0.1", .port = chain.front().port()});
  std::string seen;
  const auto response = client.request({}, [&](const Response&, std::string_view bytes) {
    seen += bytes;
    const int last = seen[seen.size() - 3] - '0';
    chain.back().run([&] {
      if (last < 9) return stream.write(fmt::format("data: {}\n\n", last + 1));
      stream.finish();
    });
  });
  ASSERT_TRUE(response.ok());
  EXPECT_EQ(seen.size(), 10 * std::string_view("data: 0\n\n").size());
  EXPECT_EQ(chain.ends(), std::vector{CallEnd::kComplete});
}

TEST(PassThrough, ADisconnectReachesTheBack) {
  for (bool streaming : {false, true}) {
    std::promise<void> asked;
    std::promise<void> closed;
    std::vector<Responder> held;
    Chain chain([&](const Request&, Responder responder) {
      responder.on_close([&] { closed.set_value(); });
      if (streaming) responder.start_stream(200, {});
      held.push_back(responder);
      asked.set_value();
    });
    RawClient client(chain.front().port());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    asked.get_future().wait();
    if (streaming) client.read_until("\r\n\r\n");
    client.close();
    EXPECT_EQ(closed.get_future().wait_for(std::chrono::milliseconds(kPatienceMs)),
              std::future_status::ready);
    EXPECT_EQ(chain.ends(), std::vector{CallEnd::kCut});
  }
}

TEST(PassThrough, ABrokenResponseIsCutForTheClientToo) {
  Chain chain([](const Request& request, Responder responder) {
    if (request.path == "/none") return responder.abort();
    responder.start_stream(200, {});
    responder.write("abc");
    responder.abort();
  });
  RawClient client(chain.front().port());
  client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(client.read_to_end().ends_with("3\r\nabc\r\n"));
  RawClient other(chain.front().port());
  other.send("GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(other.read_to_end().starts_with("HTTP/1.1 502"));
}

TEST(PassThrough, ASlowBackGets504) {
  std::vector<Responder> held;
  Chain chain([&](const Request&, Responder responder) { held.push_back(responder); },
              {.response_timeout_ns = 30 * kMs});
  BlockingClient client({.host = "127.0.0.1", .port = chain.front().port()});
  EXPECT_EQ(client.request({}).value().status, 504);
}

// The back writes four times what the front may keep, as fast as it is taken; the client reads
// nothing until that stops. Had the front read on, it would have closed the client.
TEST(PassThrough, ASlowReaderHoldsTheBackUp) {
  constexpr size_t kPiece = 64 << 10;
  constexpr size_t kWhole = 32 << 20;
  size_t written = 0;
  std::vector<Responder> held;
  std::function<void()> write_on;
  Chain chain([&](const Request&, Responder responder) {
    held.push_back(responder);
    held[0].start_stream(200, {});
    write_on = [&] {
      for (; written < kWhole && held[0].buffered_bytes() == 0; written += kPiece)
        held[0].write(std::string(kPiece, 'x'));
      if (written < kWhole) return held[0].on_drained([&] { write_on(); });
      held[0].finish();
    };
    write_on();
  });
  RawClient client(chain.front().port(), 4096);
  client.send("GET / HTTP/1.0\r\n\r\n");
  client.read_until("\r\n\r\n");
  size_t before = 0;
  std::promise<void> held_up;
  std::unique_ptr<Timer> timer;
  std::function<void()> look = [&] {
    if (written > 0 && written == before) return held_up.set_value();
    before = written;
    timer->start(kPileUpMs * kMs, [&] { look(); });
  };
  chain.back().run([&] {
    timer = std::make_unique<Timer>(chain.back().loop());
    look();
  });
  held_up.get_future().wait();
  chain.back().run([&] { timer.reset(); });
  EXPECT_EQ(client.read_to_end().size(), kWhole);
}

}  // namespace
}  // namespace sluice::net
