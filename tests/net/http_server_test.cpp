// The server over real sockets: framing of answers, order, closing, draining.
#include "net/http_server.h"

#include <fcntl.h>

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "peers.h"

namespace sluice::net {
namespace {

constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

void echo(const Request& request, Responder responder) {
  const Header headers[] = {{"X-Path", request.path}};
  responder.send(200, headers, request.body);
}

std::string post(std::string_view body, std::string_view more_headers = "") {
  return fmt::format("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n{}\r\n{}", body.size(),
                     more_headers, body);
}

TEST(HttpServer, AnswersAndKeepsTheConnection) {
  ServerThread server(echo);
  RawClient client(server.port());
  for (int i = 0; i < 3; ++i) {
    client.send(post("abc"));
    EXPECT_EQ(without_date(client.read_until("abc")),
              "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Path: /p\r\n\r\nabc");
  }
  EXPECT_EQ(server.stats().accepted, 1);
  EXPECT_EQ(server.stats().requests, 3);
}

TEST(HttpServer, SharesAPortOnlyWithThoseWhoShareIt) {
  EventLoop loop;
  const auto server = [&loop](PortUse use) {
    return HttpServer({.loop = loop, .handler = echo, .port_use = use});
  };
  HttpServer one = server(PortUse::kShared), two = server(PortUse::kShared),
             alone = server(PortUse::kAlone);
  const auto port = one.listen("127.0.0.1", 0);
  ASSERT_TRUE(port.ok());
  EXPECT_TRUE(two.listen("127.0.0.1", *port).ok());
  EXPECT_FALSE(alone.listen("127.0.0.1", *port).ok());
}

TEST(HttpServer, TakesARequestByteByByte) {
  ServerThread server(echo);
  RawClient client(server.port());
  const std::string chunked =
      "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
      "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
  for (const std::string& text : {post("abc"), chunked}) {
    for (char c : text) client.send({&c, 1});
    EXPECT_TRUE(client.read_until("abc").ends_with("\r\n\r\nabc"));
  }
}

TEST(HttpServer, TakesAndGivesLargeBodies) {
  ServerThread server(echo);
  RawClient client(server.port());
  std::string body(20 << 20, '\0');
  for (size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>('a' + i % 23 % 7);
  client.send(post(body));
  client.read_until("\r\n\r\n");
  EXPECT_TRUE(client.read_bytes(body.size()) == body);
}

TEST(HttpServer, AnswersPipelinedRequestsInOrder) {
  int running = 0;
  int running_most = 0;
  ServerThread* peer = nullptr;
  ServerThread server([&](const Request& request, Responder responder) {
    running_most = std::max(running_most, ++running);
    auto answer = [&running, path = std::string(request.path), responder]() mutable {
      --running;
      responder.send({.status = 200, .body = path + ";"});
    };
    // Every other answer comes later, so that both ways of going on are used.
    if (request.path.size() % 2 == 0)
      peer->loop().post(std::move(answer));
    else
      answer();
  });
  peer = &server;
  RawClient client(server.port());
  std::string all;
  std::string expected;
  for (int i = 1; i <= 50; ++i) {
    const std::string path = "/" + std::string(static_cast<size_t>(i), 'x');
    all += fmt::format("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", path);
    expected += path + ";";
  }
  client.send(all);
  std::string paths;
  for (int i = 1; i <= 50; ++i) {
    client.read_until("\r\n\r\n");
    paths += client.read_until(";");
  }
  EXPECT_EQ(paths, expected);
  EXPECT_EQ(running_most, 1);
}

TEST(HttpServer, WaitsWithClientsThatAreFarAhead) {
  Responder first(nullptr);
  std::promise<void> asked;
  int requests = 0;
  ServerThread server(
      [&](const Request& request, Responder responder) {
        if (++requests > 1) return echo(request, responder);
        first = responder;
        asked.set_value();
      },
      {.pipelined_bytes_max = 1000});
  RawClient client(server.port());
  client.send(kGet);
  asked.get_future().wait();
  constexpr size_t kMore = 20'000;
  std::thread sender([&] {
    for (size_t i = 0; i < kMore; ++i) client.send(post("abc"));
  });
  server.run([&] { first.send({.status = 200, .body = "first"}); });
  for (size_t i = 0; i < kMore; ++i) ASSERT_TRUE(client.read_until("\r\n\r\nabc").size() < 200);
  sender.join();
}

struct FramingCase {
  std::string_view request;
  std::string_view answer;
};

TEST(HttpServer, FramesWholeAnswers) {
  constexpr FramingCase kCases[] = {
      {"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"},
      {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"},
      {"GET / HTTP/1.0\r\n\r\n",
       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"},
      {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello"
       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"},
      {"GET /empty HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
       "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"},
  };
  ServerThread server([](const Request& request, Responder responder) {
    const int status = request.path == "/empty" ? 204 : 200;
    // The server's own headers cannot be set twice.
    responder.send({.status = status,
                    .headers = {{"Content-Length", "99"}, {"transfer-encoding", "chunked"}},
                    .body = status == 204 ? "" : "hello"});
  });
  for (const FramingCase& c : kCases) {
    RawClient client(server.port());
    client.send(c.request);
    EXPECT_EQ(without_date(client.read_to_end()), c.answer) << c.request;
  }
}

TEST(HttpServer, FramesStreams) {
  constexpr FramingCase kCases[] = {
      {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nX: y\r\n\r\n"
       "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"},
      {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
       "HTTP/1.1 200 OK\r\nConnection: close\r\nX: y\r\n\r\nabc0123456789abcdef"},
      {"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
       "HTTP/1.1 200 OK\r\nConnection: close\r\nX: y\r\n\r\n"},
  };
  ServerThread server([](const Request&, Responder responder) {
    const Header headers[] = {{"X", "y"}};
    responder.start_stream(200, headers);
    responder.write("abc");
    responder.write("");
    responder.write("0123456789abcdef");
    responder.finish();
  });
  for (const FramingCase& c : kCases) {
    RawClient client(server.port());
    client.send(c.request);
    EXPECT_EQ(without_date(client.read_to_end()), c.answer) << c.request;
  }
}

TEST(HttpServer, EachWriteReachesTheClientAtOnce) {
  Responder stream(nullptr);
  std::promise<void> asked;
  ServerThread server([&](const Request& request, Responder responder) {
    if (request.method == Method::kPost) return echo(request, responder);
    stream = responder;
    asked.set_value();
  });
  RawClient client(server.port());
  client.send(kGet);
  asked.get_future().wait();
  server.run([&] { stream.start_stream(200, {}); });
  client.read_until("\r\n\r\n");
  for (std::string_view event : {"data: 1\n\n", "data: 2\n\n"}) {
    server.run([&] { stream.write(event); });
    EXPECT_EQ(client.read_until("\n\n\r\n"), fmt::format("9\r\n{}\r\n", event));
  }
  server.run([&] { stream.finish(); });
  EXPECT_EQ(client.read_until("0\r\n\r\n"), "0\r\n\r\n");
  client.send(post("abc"));  // and the connection goes on
  EXPECT_TRUE(client.read_until("abc").starts_with("HTTP/1.1 200"));
}

TEST(HttpServer, SendsContinueOnlyWhenAskedAndNeeded) {
  ServerThread server(echo);
  RawClient client(server.port());
  const std::string text = post("abc", "Expect: 100-continue\r\n");
  client.send(text.substr(0, text.size() - 3));
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("abc");
  EXPECT_TRUE(client.read_until("abc").starts_with("HTTP/1.1 200"));
  client.send(text);  // the body came along: no need
  EXPECT_TRUE(client.read_until("abc").starts_with("HTTP/1.1 200"));
}

Response json_error(int status, std::string_view message) {
  return {.status = status,
          .headers = {{"Content-Type", "application/json"}},
          .body = fmt::format("{{\"code\":{},\"message\":\"{}\"}}", status, message)};
}

TEST(HttpServer, RefusesWithTheGivenErrorBodyAndCloses) {
  ServerThread server(echo, {}, json_error);
  RawClient client(server.port());
  client.send(post("abc", "Transfer-Encoding: chunked\r\n") + std::string(kGet));
  EXPECT_EQ(without_date(client.read_to_end()),
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 66\r\nConnection: close\r\n"
            "Content-Type: application/json\r\n\r\n"
            "{\"code\":400,\"message\":\"both Content-Length and Transfer-Encoding\"}");
  EXPECT_EQ(server.stats().requests, 0);
  EXPECT_EQ(server.stats().rejected, 1);
}

// An answer to the head alone: the body is neither awaited nor handed over.
TEST(HttpServer, RefusesBodiesByTheirHead) {
  ServerThread server(echo, {}, plain_refusal, [](const Request& head) -> std::optional<Response> {
    if (head.header("key")) return std::nullopt;
    return Response{.status = 401, .body = std::string(head.path)};
  });
  RawClient stranger(server.port());
  stranger.send(post("abc").substr(0, post("abc").size() - 3));
  const std::string refusal = stranger.read_to_end();
  EXPECT_TRUE(refusal.starts_with("HTTP/1.1 401 Unauthorized")) << refusal;
  EXPECT_TRUE(refusal.ends_with("/p")) << refusal;
  EXPECT_EQ(server.stats().requests, 0);
  RawClient known(server.port());
  for (int i = 0; i < 2; ++i) {
    for (char c : post("abc", "Key: 1\r\n")) known.send({&c, 1});
    EXPECT_TRUE(known.read_until("abc").ends_with("\r\n\r\nabc"));
  }
}

TEST(HttpServer, AnswersWhatCameBeforeABrokenRequest) {
  ServerThread server(echo);
  RawClient client(server.port());
  client.send(post("abc") + "GET / HTTP/3.0\r\n\r\n");
  const std::string all = client.read_to_end();
  EXPECT_TRUE(all.starts_with("HTTP/1.1 200")) << all;
  EXPECT_NE(all.find("abcHTTP/1.1 505"), std::string::npos) << all;
}

TEST(HttpServer, ADroppedResponderGivesAnError) {
  ServerThread server([](const Request& request, Responder responder) {
    if (request.path == "/stream") responder.start_stream(200, {});
    if (request.path == "/stream") responder.write("abc");
  });
  RawClient client(server.port());
  client.send(kGet);
  EXPECT_TRUE(client.read_until("answered\n").starts_with("HTTP/1.1 500"));
  client.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(client.read_to_end().ends_with("3\r\nabc\r\n"));  // no last chunk: cut short
  EXPECT_EQ(server.stats().cut, 1);
  EXPECT_EQ(server.stats().running, 0);
}

TEST(HttpServer, AbortCutsTheStream) {
  ServerThread server([](const Request&, Responder responder) {
    responder.start_stream(200, {});
    responder.write("abc");
    responder.abort();
    EXPECT_FALSE(responder.is_open());
    responder.write("not sent");
  });
  RawClient client(server.port());
  client.send(kGet);
  EXPECT_TRUE(client.read_to_end().ends_with("3\r\nabc\r\n"));
}

// ---- disconnects ----

struct Held {
  std::promise<void> asked;
  std::promise<void> closed;
  Responder responder{nullptr};

  Handler handler() {
    return [this](const Request& request, Responder given) {
      responder = given;
      responder.on_close([this] { closed.set_value(); });
      if (request.path == "/stream") responder.start_stream(200, {});
      asked.set_value();
    };
  }
  bool notices() {
    return closed.get_future().wait_for(std::chrono::milliseconds(kPatienceMs)) ==
           std::future_status::ready;
  }
};

TEST(HttpServer, NoticesADisconnectWhileNothingIsWritten) {
  for (std::string_view path : {"/", "/stream"}) {
    for (bool orderly : {true, false}) {
      Held held;
      ServerThread server(held.handler());
      RawClient client(server.port());
      client.send(fmt::format("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", path));
      held.asked.get_future().wait();
      if (orderly)
        client.close();
      else
        client.reset();
      ASSERT_TRUE(held.notices()) << path;
      server.run([&] {
        EXPECT_FALSE(held.responder.is_open());
        EXPECT_EQ(held.responder.buffered_bytes(), 0);
        if (path == "/")  // what comes too late is dropped
          held.responder.send({.status = 200, .body = "late"});
        else
          held.responder.write("late");
      });
      EXPECT_EQ(server.stats().cut, 1);
      EXPECT_EQ(server.stats().connections, 0);
    }
  }
}

TEST(HttpServer, AClientThatSendsNoMoreStillGetsItsAnswer) {
  constexpr size_t kBytes = 8 << 20;
  ServerThread server([](const Request&, Responder responder) {
    responder.send({.status = 200, .body = std::string(kBytes, 'x')});
  });
  RawClient client(server.port(), 4096);
  client.send(kGet);
  client.read_until("\r\n\r\n");
  client.shutdown_send();
  EXPECT_EQ(client.read_to_end().size(), kBytes);
}

TEST(HttpServer, ALargeLastAnswerIsFollowedByTheEnd) {
  constexpr size_t kBytes = 8 << 20;
  ServerThread server(
      [](const Request&, Responder responder) {
        responder.send({.status = 200, .body = std::string(kBytes, 'x')});
      },
      {.linger_timeout_ns = 3'600'000 * kMs});
  RawClient client(server.port(), 4096);
  client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  client.read_until("\r\n\r\n");
  EXPECT_EQ(client.read_to_end().size(), kBytes);
}

TEST(HttpServer, NoticesADisconnectBehindPipelinedBytes) {
  Held held;
  ServerThread server(held.handler());
  RawClient client(server.port());
  client.send(std::string(kGet) + std::string(kGet) + "GET /half");
  held.asked.get_future().wait();
  client.close();
  EXPECT_TRUE(held.notices());
}

// So much that the server stops reading: it has to ask for the end by itself.
TEST(HttpServer, NoticesADisconnectBehindMorePipelinedBytesThanItReads) {
  Held held;
  ServerThread server(held.handler(), {.pipelined_bytes_max = 1000, .header_timeout_ns = 80 * kMs});
  RawClient client(server.port());
  client.send(std::string(kGet) + std::string(5000, 'x'));
  held.asked.get_future().wait();
  client.close();
  EXPECT_TRUE(held.notices());
}

TEST(HttpServer, IsNotCalledBackAfterACompleteAnswer) {
  bool called = false;
  ServerThread server([&](const Request&, Responder responder) {
    responder.on_close([&] { called = true; });
    responder.send({.status = 200, .body = "x"});
  });
  {
    RawClient client(server.port());
    client.send(kGet);
    client.read_until("\r\n\r\nx");
  }
  server.destroy();
  EXPECT_FALSE(called);
}

TEST(HttpServer, ADestroyedServerClosesItsStreams) {
  Held held;
  ServerThread server(held.handler());
  RawClient client(server.port());
  client.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
  held.asked.get_future().wait();
  server.destroy();
  EXPECT_TRUE(held.notices());
  EXPECT_TRUE(client.read_to_end().ends_with("\r\n\r\n"));
  server.run([&] { held.responder.write("nobody hears it"); });
}

// ---- listening and draining ----

// A process that `sluice up` starts must not hold its clients' connections.
TEST(HttpServer, ItsSocketsAreNotForChildren) {
  ServerThread server(echo);
  RawClient client(server.port());
  client.send(post("abc"));
  client.read_until("abc");
  int sockets = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string file = std::filesystem::read_symlink(entry.path(), gone).string();
    if (gone || !file.starts_with("socket:")) continue;
    const int descriptor = std::stoi(entry.path().filename().string());
    int family = 0;
    socklen_t bytes = sizeof(family);
    ::getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &family, &bytes);
    if (family != AF_INET) continue;
    ++sockets;
    EXPECT_NE(::fcntl(descriptor, F_GETFD) & FD_CLOEXEC, 0) << "descriptor " << descriptor;
  }
  EXPECT_EQ(sockets, 3);  // listening, the server's and the client's end
}

TEST(HttpServer, SaysWhichAddressItCannotHave) {
  EventLoop loop;
  HttpServer first({.loop = loop, .handler = echo});
  HttpServer second({.loop = loop, .handler = echo});
  const uint16_t port = first.listen("127.0.0.1", 0).value();
  const auto taken = second.listen("127.0.0.1", port);
  ASSERT_FALSE(taken.ok());
  EXPECT_EQ(taken.error().message,
            fmt::format("cannot listen on 127.0.0.1 port {}: Address already in use", port));
  const auto unknown = second.listen("example", 0);
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().message,
            "host 'example' is not a numeric address (such as 127.0.0.1 or ::1)");
}

TEST(HttpServer, ListensOnIPv6) {
  EventLoop loop;
  HttpServer server({.loop = loop, .handler = echo});
  const auto port = server.listen("[::1]", 0);
  std::string addresses;  // of this machine, one a line
  std::ifstream list("/proc/net/if_inet6");
  std::getline(list, addresses, '\0');
  if (addresses.find("00000000000000000000000000000001") == std::string::npos)
    GTEST_SKIP() << "this machine has no ::1";
  ASSERT_TRUE(port.ok()) << port.error().message;
  EXPECT_GT(*port, 0);
}

TEST(HttpServer, DrainsGracefully) {
  Held held;
  ServerThread server(held.handler());
  RawClient idle(server.port());
  RawClient busy(server.port());
  busy.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
  held.asked.get_future().wait();
  std::promise<void> drained;
  server.run([&] {
    server.server().on_idle([&] { drained.set_value(); });
    server.server().stop_accepting();
    EXPECT_FALSE(server.server().idle());
  });
  EXPECT_EQ(idle.read_to_end(), "");  // closed at once
  server.run([&] {
    held.responder.write("abc");
    held.responder.finish();
  });
  EXPECT_TRUE(busy.read_to_end().ends_with("3\r\nabc\r\n0\r\n\r\n"));
  drained.get_future().wait();
  EXPECT_TRUE(server.run([&] { return server.server().idle(); }));
}

// An answer that its client never takes ends with the client.
TEST(HttpServer, DrainsWhenAClientLeavesItsAnswerUnread) {
  ServerThread server([](const Request&, Responder responder) {
    responder.send({.status = 200, .body = std::string(8 << 20, 'x')});
  });
  RawClient client(server.port(), 4096);
  client.send(kGet);
  client.read_until("\r\n\r\n");
  std::promise<void> drained;
  server.run([&] {
    server.server().on_idle([&] { drained.set_value(); });
    server.server().stop_accepting();
    EXPECT_FALSE(server.server().idle());
  });
  client.reset();
  EXPECT_EQ(drained.get_future().wait_for(std::chrono::milliseconds(kPatienceMs)),
            std::future_status::ready);
}

TEST(HttpServer, ARequestHalfReadWhenDrainingBeginsIsTheLast) {
  ServerThread server(echo);
  RawClient client(server.port());
  const std::string text = post("abc", "Expect: 100-continue\r\n");
  client.send(text.substr(0, text.size() - 3));
  client.read_until("\r\n\r\n");
  server.run([&] { server.server().stop_accepting(); });
  client.send("abc");
  const std::string answer = client.read_to_end();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos) << answer;
}

TEST(HttpServer, AnIdleServerDrainsAtOnce) {
  ServerThread server(echo);
  std::promise<void> drained;
  server.run([&] {
    server.server().stop_accepting();
    server.server().on_idle([&] { drained.set_value(); });
  });
  drained.get_future().wait();
}

}  // namespace
}  // namespace sluice::net
