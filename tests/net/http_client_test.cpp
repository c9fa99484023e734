// The blocking client (and with it the one on the loop) against the server, and against peers that
// misbehave.
#include <atomic>

#include <gtest/gtest.h>

#include "net/blocking_client.h"
#include "peers.h"

namespace sluice::net {
namespace {

Endpoint local(uint16_t port) {
  return {.host = "127.0.0.1", .port = port};
}

// Answers each connection with the same bytes after the first ones arrived, then closes it.
class ScriptedPeer {
 public:
  explicit ScriptedPeer(std::string answer)
      : answer_(std::move(answer)), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0, "bind");
    socklen_t size = sizeof(address);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    ::listen(listener_, 8);
    thread_ = std::thread([this] { serve(); });
  }
  ~ScriptedPeer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  uint16_t port() const { return port_; }

 private:
  void serve() {
    for (;;) {
      const int socket = ::accept(listener_, nullptr, nullptr);
      if (socket < 0) return;
      char bytes[4096];
      if (::recv(socket, bytes, sizeof(bytes), 0) > 0)
        ::send(socket, answer_.data(), answer_.size(), MSG_NOSIGNAL);
      ::close(socket);
    }
  }
  const std::string answer_;
  int listener_;
  uint16_t port_ = 0;
  std::thread thread_;
};

// A port that refuses: bound, not listening.
class ClosedPort {
 public:
  ClosedPort() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT(::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0, "bind");
    socklen_t size = sizeof(address);
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  ~ClosedPort() { ::close(socket_); }
  uint16_t port() const { return port_; }

 private:
  int socket_;
  uint16_t port_ = 0;
};

TEST(HttpClient, SendsAndReceivesOverOneConnection) {
  ServerThread server([](const Request& request, Responder responder) {
    const Header headers[] = {{"X-Seen", request.header("x-mine").value_or("none")}};
    responder.send(
        201, headers,
        fmt::format("{} {} {}", method_text(request.method), request.target, request.body));
  });
  BlockingClient client(local(server.port()));
  const Header headers[] = {{"X-Mine", "yes"}, {"Content-Length", "99"}, {"Host", "other"}};
  for (int i = 0; i < 3; ++i) {
    const Response response =
        client
            .request(
                {.method = Method::kPost, .target = "/a?b=c", .headers = headers, .body = "body"})
            .value();
    EXPECT_EQ(response.status, 201);
    EXPECT_EQ(response.body, "POST /a?b=c body");
    EXPECT_EQ(response.headers.back().value, "yes");
  }
  EXPECT_EQ(server.stats().accepted, 1);
}

TEST(HttpClient, CarriesLargeBodiesBothWays) {
  ServerThread server(
      [](const Request& request, Responder responder) { responder.send(200, {}, request.body); });
  BlockingClient client(local(server.port()));
  const std::string body(20 << 20, 'x');
  const Response response = client.request({.method = Method::kPost, .body = body}).value();
  EXPECT_TRUE(response.body == body);
}

TEST(HttpClient, ResolvesNames) {
  ServerThread server([](const Request&, Responder responder) { responder.send(204, {}, ""); });
  BlockingClient client({.host = "localhost", .port = server.port()});
  EXPECT_EQ(client.request({}).value().status, 204);
}

// The server writes a piece only after the client has seen the one before.
TEST(HttpClient, HandsOnPiecesAsTheyArrive) {
  Responder stream(nullptr);
  ServerThread server([&](const Request&, Responder responder) {
    stream = responder;
    stream.start_stream(200, {});
    stream.write("1;");
  });
  BlockingClient client(local(server.port()));
  std::string seen;
  const auto response = client.request({}, [&](const Response& head, std::string_view bytes) {
    EXPECT_EQ(head.status, 200);
    seen += bytes;
    const int last = seen[seen.size() - 2] - '0';
    server.run([&] {
      if (last < 5) return stream.write(fmt::format("{};", last + 1));
      stream.finish();
    });
  });
  EXPECT_TRUE(response.ok());
  EXPECT_EQ(seen, "1;2;3;4;5;");
}

struct FailureCase {
  std::string_view answer;
  std::string_view message;
};

TEST(HttpClient, SaysWhatWentWrong) {
  constexpr FailureCase kCases[] = {
      {"", "the connection was closed before a response"},
      {"HTTP/1.1 200 OK\r\n", "the connection was closed in the middle of a response"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
       "the connection was closed in the middle of a response"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
       "the connection was closed in the middle of a response"},
      {"220 mail.example ESMTP\r\n", "malformed status line"},
  };
  for (const FailureCase& c : kCases) {
    ScriptedPeer peer{std::string(c.answer)};
    BlockingClient client(local(peer.port()));
    const auto response = client.request({});
    ASSERT_FALSE(response.ok()) << c.answer;
    EXPECT_EQ(response.error().message, fmt::format("127.0.0.1:{}: {}", peer.port(), c.message));
  }
}

TEST(HttpClient, ReadsABodyThatEndsWithTheConnection) {
  ScriptedPeer peer("HTTP/1.0 200 OK\r\n\r\nabc");
  BlockingClient client(local(peer.port()));
  EXPECT_EQ(client.request({}).value().body, "abc");
  EXPECT_EQ(client.request({}).value().body, "abc");
}

TEST(HttpClient, SaysThatNobodyListens) {
  const ClosedPort port;
  BlockingClient client(local(port.port()));
  const auto response = client.request({});
  ASSERT_FALSE(response.ok());
  EXPECT_EQ(response.error().message, fmt::format("127.0.0.1:{}: Connection refused", port.port()));
}

TEST(HttpClient, GivesUpOnASilentServer) {
  std::vector<Responder> held;
  ServerThread server([&](const Request& request, Responder responder) {
    held.push_back(responder);
    if (request.path == "/stream") held.back().start_stream(200, {});
  });
  BlockingClient client(local(server.port()),
                        {.response_timeout_ns = 30 * kMs, .stall_timeout_ns = 30 * kMs});
  const auto none = client.request({});
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.error().message.find("no response within the time limit"), std::string::npos);
  const auto stalled = client.request({.target = "/stream"});
  ASSERT_FALSE(stalled.ok());
  EXPECT_NE(stalled.error().message.find("the response stalled"), std::string::npos);
}

TEST(HttpClient, CanBeCancelled) {
  std::promise<void> closed;
  Responder held(nullptr);
  std::unique_ptr<BlockingClient> client;
  ServerThread server([&](const Request& request, Responder responder) {
    if (request.path == "/next") return responder.send(204, {}, "");
    held = responder;
    held.on_close([&] { closed.set_value(); });
    client->cancel();
  });
  client = std::make_unique<BlockingClient>(local(server.port()));
  const auto response = client->request({});
  ASSERT_FALSE(response.ok());
  EXPECT_EQ(response.error().message, "the request was cancelled");
  closed.get_future().wait();
  EXPECT_EQ(client->request({.target = "/next"}).value().status, 204);
}

TEST(HttpClient, OpensANewConnectionWhenTheServerClosedTheIdleOne) {
  ServerThread server([](const Request&, Responder responder) { responder.send(204, {}, ""); },
                      {.idle_timeout_ns = 10 * kMs});
  BlockingClient client(local(server.port()));
  EXPECT_EQ(client.request({}).value().status, 204);
  while (server.stats().connections > 0) std::this_thread::yield();
  EXPECT_EQ(client.request({}).value().status, 204);
  EXPECT_EQ(server.stats().accepted, 2);
}

struct EndOnly final : ResponseSink {
  explicit EndOnly(std::promise<std::string>* given) : promise(given) {}
  void on_head(const ResponseHead&) override {}
  void on_body(std::string_view) override {}
  void on_end(CallEnd, std::string_view message) override {
    promise->set_value(std::string(message));
  }
  std::promise<std::string>* promise;
};

TEST(HttpClient, HasALimitOfConnections) {
  std::vector<Responder> held;
  ServerThread server([&](const Request&, Responder responder) { held.push_back(responder); });
  std::unique_ptr<HttpClient> client;
  std::promise<std::string> ends[3];
  server.run([&] {
    client = std::make_unique<HttpClient>(server.loop(), local(server.port()),
                                          ClientLimits{.connections_max = 2});
    for (std::promise<std::string>& end : ends) client->send({}, std::make_shared<EndOnly>(&end));
    EXPECT_EQ(client->stats().connections, 2);
  });
  EXPECT_EQ(ends[2].get_future().get(),
            fmt::format("127.0.0.1:{}: 2 connections are in use, the limit", server.port()));
  server.run([&] { client.reset(); });
}

TEST(HttpClient, ClosesAConnectionThatIsIdleForTooLong) {
  ServerThread server([](const Request&, Responder responder) { responder.send(204, {}, ""); });
  std::promise<std::string> end;
  std::unique_ptr<HttpClient> client;
  server.run([&] {
    client = std::make_unique<HttpClient>(server.loop(), local(server.port()),
                                          ClientLimits{.idle_timeout_ns = 10 * kMs});
    client->send({}, std::make_shared<EndOnly>(&end));
  });
  end.get_future().wait();
  while (server.stats().connections > 0) std::this_thread::yield();
  server.run([&] {
    EXPECT_EQ(client->stats().connections, 0);
    client.reset();
  });
}

// Collects; pauses its call at the first piece where told to.
struct Paused final : ResponseSink {
  void on_head(const ResponseHead&) override { begun.set_value(); }
  void on_body(std::string_view bytes) override {
    body += bytes;
    if (pause_at_first_piece && body == bytes) call.pause();
  }
  void on_end(CallEnd, std::string_view) override { ended.set_value(); }
  ClientCall call;
  std::string body;
  bool pause_at_first_piece = false;
  std::promise<void> begun;
  std::promise<void> ended;
};

TEST(HttpClient, NothingComesWhilePaused) {
  Responder stream(nullptr);
  ServerThread server([&](const Request&, Responder responder) {
    stream = responder;
    stream.start_stream(200, {});
  });
  for (bool pause_at_first_piece : {false, true}) {
    LoopThread thread;
    std::unique_ptr<HttpClient> client;
    const auto sink = std::make_shared<Paused>();
    sink->pause_at_first_piece = pause_at_first_piece;
    thread.run([&] {
      client = std::make_unique<HttpClient>(thread.loop(), local(server.port()));
      sink->call = client->send({}, sink);
    });
    sink->begun.get_future().wait();
    if (!pause_at_first_piece) thread.run([&] { sink->call.pause(); });
    server.run([&] {
      stream.write("a");
      stream.write("b");
    });
    std::string seen;
    const auto look = [&] { seen = thread.run([&] { return sink->body; }); };
    if (pause_at_first_piece)
      while (seen.empty()) look();
    for (int turn = 0; turn < 100; ++turn) look();  // the loop could have read long ago
    EXPECT_EQ(seen, pause_at_first_piece ? "a" : "");
    server.run([&] { stream.finish(); });
    thread.run([&] { sink->call.resume(); });
    sink->ended.get_future().wait();
    EXPECT_EQ(sink->body, "ab");
    thread.run([&] { client.reset(); });
  }
}

struct UrlCase {
  std::string_view text;
  std::string_view host;
  uint16_t port;
  std::string_view path;
};

TEST(Url, IsTakenApart) {
  constexpr UrlCase kCases[] = {
      {"http://localhost:8080/v1/", "localhost", 8080, "/v1"},
      {"http://a", "a", 80, ""},
      {"http://[::1]:81/x", "::1", 81, "/x"},
      {"http://[::1]", "::1", 80, ""},
  };
  for (const UrlCase& c : kCases) {
    const Url url = parse_url(c.text).value();
    EXPECT_EQ(url.endpoint.host, c.host);
    EXPECT_EQ(url.endpoint.port, c.port);
    EXPECT_EQ(url.path, c.path);
  }
  for (std::string_view broken : {"ftp://a", "a:80", "", "http://", "http://a:0", "http://a:99999",
                                  "http://a:8x", "http://u@a", "http://a:"})
    EXPECT_FALSE(parse_url(broken).ok()) << broken;
}

// A listener whose queue is full answers no further connection.
TEST(BlockingClient, GivesUpConnecting) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ASSERT_EQ(::listen(listener, 0), 0);
  const RawClient first(ntohs(address.sin_port));  // fills it
  BlockingClient client(local(ntohs(address.sin_port)), {.connect_timeout_ns = 50 * kMs});
  const auto response = client.request({});
  ASSERT_FALSE(response.ok());
  EXPECT_NE(response.error().message.find("no connection within the time limit"), std::string::npos)
      << response.error().message;
  ::close(listener);
}

}  // namespace
}  // namespace sluice::net
