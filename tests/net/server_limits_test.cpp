// Each limit of the server at its edge. Time limits are tens of milliseconds; a test ends when the
// server acts, it does not sleep.
#include <gtest/gtest.h>

#include "peers.h"

namespace sluice::net {
namespace {

constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

void answer_size(const Request& request, Responder responder) {
  responder.send({.status = 200, .body = fmt::format("{} bytes;", request.body.size())});
}

std::string post_head(int64_t body_bytes) {
  return fmt::format("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body_bytes);
}

TEST(ServerLimits, BodyAtTheLimitPassesOneMoreIsRefusedUnread) {
  const ServerLimits limits;
  ServerThread server(answer_size);
  RawClient good(server.port());
  good.send(post_head(limits.body_bytes_max));
  good.send(std::string(static_cast<size_t>(limits.body_bytes_max), 'x'));
  good.read_until("\r\n\r\n");
  EXPECT_EQ(good.read_until(";"), "33554432 bytes;");
  RawClient bad(server.port());
  bad.send(post_head(limits.body_bytes_max + 1));
  EXPECT_TRUE(bad.read_to_end().starts_with("HTTP/1.1 413 Content Too Large"));
}

// The budget is for all connections: bytes on their way in and bodies whose answer has not begun.
TEST(ServerLimits, LargeRequestsShareABudget) {
  constexpr int64_t kBody = 1 << 20;
  std::vector<Responder> held;
  ServerThread server([&](const Request&, Responder responder) { held.push_back(responder); },
                      {.body_bytes_max = kBody, .request_bytes_max = kBody + (kBody >> 1)});
  const auto held_bytes = [&] { return server.stats().request_bytes; };
  const std::string most(kBody - 1, 'x');
  RawClient first(server.port());
  first.send(post_head(kBody) + most);
  while (held_bytes() < kBody - ServerLimits::kRequestBytesFree) std::this_thread::yield();
  const auto refused = [&] {
    RawClient client(server.port());
    client.send(post_head(kBody) + most);
    const std::string answer = client.read_to_end();
    return answer.starts_with("HTTP/1.1 503 ") && answer.find("Retry-After: 1\r\n") != answer.npos;
  };
  EXPECT_TRUE(refused());
  RawClient small(server.port());
  small.send(post_head(1000) + std::string(1000, 'x'));
  while (server.run([&] { return held.empty(); })) std::this_thread::yield();
  first.send("x");
  while (server.run([&] { return held.size(); }) < 2) std::this_thread::yield();
  EXPECT_TRUE(refused());  // handed over, but not answered
  server.run([&] { held.back().send({.status = 200, .body = "done"}); });
  EXPECT_TRUE(first.read_until("done").starts_with("HTTP/1.1 200"));
  EXPECT_EQ(held_bytes(), 0);
  RawClient second(server.port());
  second.send(post_head(kBody) + most + "x");
  while (server.run([&] { return held.size(); }) < 3) std::this_thread::yield();
  EXPECT_GT(held_bytes(), 0);
  second.close();
  while (held_bytes() > 0) std::this_thread::yield();
  server.run([&] { held.clear(); });
}

// The sender goes on sending; it must still be able to read why it was refused.
TEST(ServerLimits, ARefusedSenderReadsWhy) {
  ServerThread server(answer_size, {.body_bytes_max = 1000});
  RawClient client(server.port());
  client.send(post_head(1001));
  client.send(std::string(1 << 20, 'x'));
  EXPECT_TRUE(client.read_to_end().starts_with("HTTP/1.1 413 "));
  EXPECT_FALSE(client.reset_by_peer());
}

TEST(ServerLimits, HeadersTargetAndCount) {
  ServerThread server(answer_size,
                      {.header_bytes_max = 1000, .target_bytes_max = 100, .headers_max = 5});
  const auto status = [&](const std::string& bytes) {
    RawClient client(server.port());
    client.send(bytes);
    return client.read_bytes(12).substr(9);
  };
  const auto with_target = [](size_t bytes) {
    return "GET /" + std::string(bytes - 1, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n";
  };
  EXPECT_EQ(status(with_target(100)), "200");
  EXPECT_EQ(status(with_target(101)), "414");
  const auto with_head = [](size_t bytes) {
    const std::string start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    return start + std::string(bytes - start.size() - 4, 'a') + "\r\n\r\n";
  };
  EXPECT_EQ(status(with_head(1000)), "200");
  EXPECT_EQ(status(with_head(1001)), "431");
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\n\r\n"), "200");
  EXPECT_EQ(status("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\nE: 1\r\n\r\n"),
            "431");
}

TEST(ServerLimits, AConnectionOverTheLimitGets503) {
  ServerThread server(answer_size, {.connections_max = 3, .retry_after_s = 7});
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<RawClient>(server.port()));
    clients.back()->send(kGet);
    EXPECT_TRUE(clients.back()->read_until("bytes;").starts_with("HTTP/1.1 200"));
  }
  RawClient fourth(server.port());
  fourth.send(kGet);
  const std::string refusal = fourth.read_to_end();
  EXPECT_TRUE(refusal.starts_with("HTTP/1.1 503 Service Unavailable")) << refusal;
  EXPECT_NE(refusal.find("Retry-After: 7\r\n"), std::string::npos) << refusal;
  EXPECT_EQ(server.stats().refused, 1);
  EXPECT_EQ(server.stats().connections, 3);
  clients.front()->send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  clients.front()->read_to_end();
  clients.front()->close();
  while (server.stats().connections == 3) std::this_thread::yield();
  RawClient fifth(server.port());
  fifth.send(kGet);
  EXPECT_TRUE(fifth.read_until("bytes;").starts_with("HTTP/1.1 200"));
}

TEST(ServerLimits, SlowHeadersGet408) {
  ServerThread server(answer_size, {.header_timeout_ns = 30 * kMs});
  RawClient client(server.port());
  client.send("GET / HTTP/1.1\r\nHost");
  const std::string answer = client.read_to_end();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 408 Request Timeout")) << answer;
  RawClient silent(server.port());
  EXPECT_EQ(silent.read_to_end(), "");  // it asked nothing: nothing to answer
}

TEST(ServerLimits, SlowHeadersOfALaterRequestGet408) {
  ServerThread server(answer_size, {.header_timeout_ns = 30 * kMs});
  RawClient client(server.port());
  client.send(std::string(kGet) + "GET / HT");
  const std::string answer = client.read_to_end();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  EXPECT_NE(answer.find("HTTP/1.1 408"), std::string::npos) << answer;
}

TEST(ServerLimits, SlowBodiesGet408) {
  ServerThread server(answer_size, {.body_timeout_ns = 30 * kMs});
  RawClient client(server.port());
  client.send(post_head(10) + "abc");
  const std::string answer = client.read_to_end();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 408")) << answer;
  EXPECT_NE(answer.find("the request's body took too long"), std::string::npos) << answer;
}

// Bytes that came at the least rate or faster buy time: 2,000 of them at 1,000 a second two
// seconds.
TEST(ServerLimits, ABodyThatMakesProgressMayTakeLonger) {
  ServerThread server(answer_size, {.body_timeout_ns = 20 * kMs, .body_bytes_per_s_min = 1000});
  RawClient patient(server.port());
  patient.send(post_head(2001) + std::string(2000, 'x'));
  RawClient stalled(server.port());
  stalled.send(post_head(2001) + "x");
  EXPECT_TRUE(stalled.read_to_end().starts_with("HTTP/1.1 408"));
  patient.send("x");
  EXPECT_TRUE(patient.read_until("bytes;").ends_with("2001 bytes;"));
}

TEST(ServerLimits, IdleConnectionsAreClosedWithoutAWord) {
  ServerThread server(answer_size, {.idle_timeout_ns = 30 * kMs});
  RawClient client(server.port());
  client.send(kGet);
  client.read_until("bytes;");
  EXPECT_EQ(client.read_to_end(), "");
}

// Writes pieces until told to stop.
struct Firehose {
  std::promise<void> stalled;  // the socket took no more
  std::promise<void> drained;
  std::promise<void> closed;
  Responder responder{nullptr};

  Handler handler(int64_t buffered_bytes) {
    return [this, buffered_bytes](const Request&, Responder given) {
      responder = given;
      responder.on_close([this] { closed.set_value(); });
      responder.start_stream(200, {});
      const std::string piece(64 << 10, 'x');
      while (responder.is_open() && responder.buffered_bytes() <= buffered_bytes)
        responder.write(piece);
      responder.on_drained([this] { drained.set_value(); });
      stalled.set_value();
    };
  }
  static bool happens(std::promise<void>& event) {
    return event.get_future().wait_for(std::chrono::milliseconds(kPatienceMs)) ==
           std::future_status::ready;
  }
};

TEST(ServerLimits, ASlowReaderHoldsTheWriterBack) {
  Firehose hose;
  ServerThread server(hose.handler(0));
  RawClient client(server.port(), 4096);
  client.send(kGet);
  ASSERT_TRUE(Firehose::happens(hose.stalled));
  EXPECT_GT(server.run([&] { return hose.responder.buffered_bytes(); }), 0);
  std::thread reader([&] { client.read_until("0\r\n\r\n"); });
  EXPECT_TRUE(Firehose::happens(hose.drained));
  server.run([&] {
    EXPECT_EQ(hose.responder.buffered_bytes(), 0);
    hose.responder.finish();
  });
  reader.join();
}

TEST(ServerLimits, AReaderThatStallsTooLongIsClosed) {
  Firehose hose;
  ServerThread server(hose.handler(0), {.write_stall_timeout_ns = 30 * kMs});
  RawClient client(server.port(), 4096);
  client.send(kGet);
  EXPECT_TRUE(Firehose::happens(hose.closed));
  EXPECT_EQ(server.stats().cut, 1);
}

TEST(ServerLimits, AReaderWithTooMuchWaitingIsClosed) {
  Firehose hose;
  ServerThread server(hose.handler(1 << 30), {.send_buffer_bytes_max = 1 << 20});
  RawClient client(server.port(), 4096);
  client.send(kGet);
  EXPECT_TRUE(Firehose::happens(hose.closed));
}

// It takes something all the time, so that it never stalls, but less than the least rate.
TEST(ServerLimits, AReaderThatTricklesIsClosed) {
  Firehose hose;
  ServerThread server(hose.handler(64 << 20), {.send_buffer_bytes_max = 128 << 20,
                                               .write_stall_timeout_ns = 200 * kMs,
                                               .answer_bytes_per_s_min = 1 << 30});
  RawClient client(server.port());
  client.send(kGet);
  auto closed = hose.closed.get_future();
  const auto patience = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
  while (closed.wait_for(std::chrono::milliseconds(2)) != std::future_status::ready &&
         std::chrono::steady_clock::now() < patience)
    client.read_bytes(64 << 10);
  EXPECT_LT(std::chrono::steady_clock::now(), patience);
}

// Requests whose answers nobody reads wait, they do not pile up; then all are answered.
TEST(ServerLimits, UnreadAnswersHoldFurtherRequestsBack) {
  constexpr int kRequests = 4000;
  constexpr size_t kAnswerBytes = 16 << 10;
  int64_t buffered_most = 0;
  ServerThread server(
      [&](const Request&, Responder responder) {
        buffered_most = std::max(buffered_most, responder.buffered_bytes());
        responder.send({.status = 200, .body = std::string(kAnswerBytes, 'x')});
      },
      {.pipelined_bytes_max = 1000, .send_buffer_bytes_max = 256 << 10});
  RawClient client(server.port(), 4096);
  std::string all;
  for (int i = 0; i < kRequests; ++i) all += kGet;
  std::thread sender([&] { client.send(all); });
  const auto patience = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
  while (server.run([&] { return buffered_most; }) <= 128 << 10 &&
         std::chrono::steady_clock::now() < patience)
    std::this_thread::yield();
  EXPECT_GT(server.run([&] { return buffered_most; }), 128 << 10);
  for (int i = 0; i < kRequests; ++i) {
    client.read_until("\r\n\r\n");
    ASSERT_EQ(client.read_bytes(kAnswerBytes).size(), kAnswerBytes) << "answer " << i;
  }
  EXPECT_LE(server.run([&] { return buffered_most; }), 256 << 10);
  sender.join();
}

TEST(ServerLimits, AClientFarAheadIsNotReadOn) {
  constexpr size_t kMost = 256 << 20;  // far more than the kernel keeps
  std::vector<Responder> held;
  ServerThread server([&](const Request&, Responder responder) { held.push_back(responder); },
                      {.pipelined_bytes_max = 1000});
  RawClient client(server.port());
  client.send(kGet);
  EXPECT_LT(client.flood(std::string(1 << 20, 'x'), kMost), kMost);
}

TEST(ServerLimits, AWholeAnswerMayBeLargerThanTheSendBuffer) {
  ServerThread server(
      [](const Request&, Responder responder) {
        responder.send({.status = 200, .body = std::string(8 << 20, 'x')});
      },
      {.send_buffer_bytes_max = 1 << 20});
  RawClient client(server.port(), 4096);
  client.send(kGet);
  client.read_until("\r\n\r\n");
  EXPECT_EQ(client.read_bytes(8 << 20).size(), size_t{8 << 20});
}

}  // namespace
}  // namespace sluice::net
