// Requests that wait for a place: their order, what they hear meanwhile, and how waiting ends.
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/sse.h"
#include "tests/gateway/edge_harness.h"

namespace sluice::gateway {
namespace {

using contract::Outcome;
using ::testing::HasSubstr;
using ::testing::Not;

// Holds every request until it is told to answer the oldest.
class HoldingUpstream {
 public:
  // The content of the next request's message, when it has come.
  std::string next() {
    std::unique_lock lock(mutex_);
    const bool came = changed_.wait_for(lock, std::chrono::milliseconds(net::kPatienceMs),
                                        [&] { return seen_ < held_.size(); });
    return came ? held_[seen_++].first : "nothing came";
  }
  void answer(size_t number) {
    server_.run([&] {
      const std::lock_guard lock(mutex_);
      held_[number].second.send(200, {}, kAnswer);
    });
  }
  size_t count() {
    const std::lock_guard lock(mutex_);
    return held_.size();
  }
  uint16_t port() const { return server_.port(); }
  ~HoldingUpstream() { server_.destroy(); }

 private:
  void hold(const net::Request& request, net::Responder responder) {
    const std::lock_guard lock(mutex_);
    const size_t begin = request.body.find("<") + 1;
    held_.emplace_back(request.body.substr(begin, request.body.find(">") - begin), responder);
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<std::string, net::Responder>> held_;
  size_t seen_ = 0;
  net::ServerThread server_{[this](const net::Request& request, net::Responder responder) {
    hold(request, std::move(responder));
  }};
};

// Model "m" has one place; "other" too, at the second upstream.
contract::Snapshot narrow_snapshot(const std::vector<uint16_t>& upstreams) {
  contract::Snapshot snapshot = edge_snapshot(upstreams);
  for (contract::Replica& replica : snapshot.replicas)
    replica.speed = {.prefill_tokens_per_s = 1e5,
                     .decode_tokens_per_s = 1e4,
                     .decode_tokens_per_s_max = 1e4,
                     .streams_max = 1};
  return snapshot;
}

std::string body_of(std::string_view name, std::string_view more = "",
                    std::string_view model = "m") {
  return fmt::format(
      R"({{"model":"{}","messages":[{{"role":"user","content":"<{}>"}}],"max_tokens":8{}}})", model,
      name, more);
}

class EdgeWaiting : public testing::Test {
 protected:
  void make_edge(contract::Snapshot snapshot, EdgeLimits limits = {}) {
    edge_ = std::make_unique<Edge>(std::move(snapshot), limits);
  }
  void make_edge_of_speed(double tokens_per_s) {
    contract::Snapshot snapshot = narrow_snapshot({upstream_.port()});
    snapshot.replicas[0].speed.decode_tokens_per_s = tokens_per_s;
    snapshot.replicas[0].speed.decode_tokens_per_s_max = tokens_per_s;
    make_edge(std::move(snapshot));
  }
  net::RawClient& send(std::string_view body) {
    clients_.push_back(std::make_unique<net::RawClient>(edge_->port()));
    clients_.back()->send(post_text(body));
    return *clients_.back();
  }
  // Until so many wait; the gauge is the loop's own.
  void expect_waiting(int64_t count) {
    const int64_t give_up_ns = clock_.now_ns() + net::kPatienceMs * net::kMs;
    while (edge_->metrics().waiting.value() != count && clock_.now_ns() < give_up_ns)
      std::this_thread::yield();
    ASSERT_EQ(edge_->metrics().waiting.value(), count);
  }

  core::SystemClock clock_;
  HoldingUpstream upstream_;
  HoldingUpstream other_;
  std::unique_ptr<Edge> edge_;
  std::vector<std::unique_ptr<net::RawClient>> clients_;
};

TEST_F(EdgeWaiting, TheOrderIsPriorityThenArrival) {
  contract::Snapshot snapshot = narrow_snapshot({upstream_.port()});
  snapshot.keys[0].defaults.priority = 7;
  make_edge(std::move(snapshot));
  send(body_of("first"));
  EXPECT_EQ(upstream_.next(), "first");
  send(body_of("low", R"(,"sluice":{"priority":-2})"));
  expect_waiting(1);
  send(body_of("second"));
  expect_waiting(2);
  // More than its key has: that of its key, so it comes behind the one before.
  send(body_of("pushy", R"(,"sluice":{"priority":1000})"));
  expect_waiting(3);
  send(body_of("middle", R"(,"sluice":{"priority":1})"));
  expect_waiting(4);
  size_t answered = 0;
  for (const char* name : {"second", "pushy", "middle", "low"}) {
    upstream_.answer(answered++);
    EXPECT_EQ(upstream_.next(), name);
  }
  upstream_.answer(answered);
  for (const auto& client : clients_)
    EXPECT_TRUE(client->read_until("\r\n").starts_with("HTTP/1.1 200"));
  int waited = 0;
  for (const contract::UsageEvent& event : edge_->records().events(5))
    waited += event.decision == contract::ValveDecision::kWaited ? 1 : 0;
  EXPECT_EQ(waited, 4);
  edge_->records().expect_balanced();
}

// The key that was served while the other waited comes after it, and a larger share evens that.
TEST_F(EdgeWaiting, KeysTakeTurns) {
  contract::Snapshot snapshot = narrow_snapshot({upstream_.port()});
  contract::Key other = snapshot.keys[0];
  other.id = "key_2";
  KeyHasher hasher({{"h1", std::string(32, 's')}});
  other.hash = to_hex(hasher.digest(0, "sk-other"));
  snapshot.keys.push_back(other);
  make_edge(std::move(snapshot));
  const auto send_as_other = [&](std::string_view name) {
    std::string text = post_text(body_of(name));
    text.replace(text.find(kSecret), sizeof(kSecret) - 1, "sk-other");
    clients_.push_back(std::make_unique<net::RawClient>(edge_->port()));
    clients_.back()->send(text);
  };
  send(body_of("a1"));
  EXPECT_EQ(upstream_.next(), "a1");
  int64_t waits = 0;
  for (const char* name : {"a2", "a3", "a4"}) {
    send(body_of(name));
    expect_waiting(++waits);
  }
  for (const char* name : {"b1", "b2"}) {
    send_as_other(name);
    expect_waiting(++waits);
  }
  size_t answered = 0;
  for (const char* name : {"b1", "a2", "b2", "a3", "a4"}) {
    upstream_.answer(answered++);
    EXPECT_EQ(upstream_.next(), name);
  }
  upstream_.answer(answered);
  edge_->records().events(6);
}

TEST_F(EdgeWaiting, ABusyModelHoldsNobodyBackWhoWantsAnother) {
  contract::Snapshot snapshot = narrow_snapshot({upstream_.port(), other_.port()});
  contract::Model model = snapshot.models[0];
  model.id = "other";
  snapshot.models.push_back(model);
  snapshot.replicas[1].model = "other";
  make_edge(std::move(snapshot));
  send(body_of("m1"));
  EXPECT_EQ(upstream_.next(), "m1");
  send(body_of("o1", "", "other"));
  EXPECT_EQ(other_.next(), "o1");
  send(body_of("m2"));
  expect_waiting(1);
  send(body_of("o2", "", "other"));
  expect_waiting(2);
  other_.answer(0);
  EXPECT_EQ(other_.next(), "o2");
  other_.answer(1);
  upstream_.answer(0);
  EXPECT_EQ(upstream_.next(), "m2");
  upstream_.answer(1);
  edge_->records().events(4);
  edge_->records().expect_balanced();
}

// Not every upstream says that it lives; between the events of one that does nothing is put.
TEST_F(EdgeWaiting, AStreamHearsAHeartbeatWhileItsUpstreamIsSilent) {
  const std::string chunk =
      R"(data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]})";
  std::promise<net::Responder> asked;
  net::ServerThread silent([&](const net::Request&, net::Responder responder) {
    asked.set_value(std::move(responder));
  });
  make_edge(edge_snapshot({silent.port()}), {.heartbeat_ns = 1});
  net::RawClient& stream = send(body_of("stream", R"(,"stream":true)"));
  net::Responder responder = asked.get_future().get();
  EXPECT_THAT(stream.read_until(": ping\n\n"), HasSubstr("200 OK"));
  silent.run([&] {
    const net::Header headers[] = {{"Content-Type", "text/event-stream"}};
    responder.start_stream(200, headers);
    responder.write(chunk.substr(0, 20));
  });
  stream.read_until(": ping\n\n");
  silent.run([&] {
    responder.write(chunk.substr(20) + "\n\n" + std::string(net::kSseDone));
    responder.finish();
  });
  const std::string rest = stream.read_until("0\r\n\r\n");
  EXPECT_THAT(rest, HasSubstr(chunk + "\n\n"));
  EXPECT_THAT(rest, HasSubstr("[DONE]"));
  EXPECT_EQ(edge_->records().events(1)[0].outcome, Outcome::kCompleteUsageMissing);
  edge_->records().expect_balanced();
  silent.destroy();
}

TEST_F(EdgeWaiting, AStreamThatWaitsHearsAHeartbeat) {
  make_edge(narrow_snapshot({upstream_.port()}), {.heartbeat_ns = 1});
  send(body_of("first"));
  EXPECT_EQ(upstream_.next(), "first");
  net::RawClient& stream = send(body_of("stream", R"(,"stream":true)"));
  net::RawClient& whole = send(body_of("whole"));
  EXPECT_THAT(stream.read_until(": ping\n\n"), HasSubstr("200 OK"));
  edge_->drain();
  const std::string rest = stream.read_until("0\r\n\r\n");
  EXPECT_THAT(rest, HasSubstr("data: {\"error\""));
  EXPECT_THAT(rest, Not(HasSubstr("[DONE]")));
  const std::string refused = whole.read_until("}}");
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 503")) << refused;
  EXPECT_THAT(refused, HasSubstr("Retry-After"));
  upstream_.answer(0);
  for (const contract::UsageEvent& event : edge_->records().events(3))
    EXPECT_EQ(event.lines.empty(), event.outcome == Outcome::kRefused);
  edge_->records().expect_balanced();
}

TEST_F(EdgeWaiting, NoDeadlineIsLaterThanTheLongestWait) {
  make_edge(narrow_snapshot({upstream_.port()}), {.wait_max_ns = 200 * net::kMs});
  send(body_of("first"));
  EXPECT_EQ(upstream_.next(), "first");
  net::RawClient& patient = send(body_of("patient", R"(,"sluice":{"deadline_ms":600000})"));
  EXPECT_TRUE(patient.read_until("\r\n").starts_with("HTTP/1.1 503"));
  upstream_.answer(0);
  EXPECT_EQ(edge_->records().events(2).size(), 2U);
}

// Eight tokens at ten a second are ahead of it.
TEST_F(EdgeWaiting, ARefusalSaysWhenAPlaceIsFree) {
  make_edge_of_speed(10);
  send(body_of("first"));
  EXPECT_EQ(upstream_.next(), "first");
  const std::string refused =
      send(body_of("hurried", R"(,"sluice":{"deadline_ms":1})")).read_until("\r\n\r\n");
  EXPECT_THAT(refused, HasSubstr("HTTP/1.1 503"));
  EXPECT_THAT(refused, HasSubstr("Retry-After: 1\r\n"));
  EXPECT_THAT(refused, HasSubstr("retry-after-ms: 800\r\n"));
  upstream_.answer(0);
  edge_->records().events(2);
}

// Who waits behind another is asked about at its deadline, and told then when a place will be free:
// eight tokens at forty a second are ahead of it.
TEST_F(EdgeWaiting, WhoWaitsBehindAnotherHearsAtItsDeadlineWhenToComeAgain) {
  make_edge_of_speed(40);
  send(body_of("first"));
  EXPECT_EQ(upstream_.next(), "first");
  send(body_of("patient"));
  expect_waiting(1);
  net::RawClient& late = send(body_of("late", R"(,"sluice":{"priority":-2,"deadline_ms":250})"));
  expect_waiting(2);
  const std::string refused = late.read_until("\r\n\r\n");
  EXPECT_THAT(refused, HasSubstr("HTTP/1.1 503"));
  EXPECT_THAT(refused, HasSubstr("retry-after-ms: 200\r\n"));
  expect_waiting(1);
  upstream_.answer(0);
  EXPECT_EQ(upstream_.next(), "patient");
  upstream_.answer(1);
  edge_->records().events(3);
  edge_->records().expect_balanced();
}

TEST_F(EdgeWaiting, WaitingEndsAtTheDeadlineAndWithTheClient) {
  make_edge(narrow_snapshot({upstream_.port()}), {.waiting_max = 2});
  send(body_of("first"));
  EXPECT_EQ(upstream_.next(), "first");
  net::RawClient& late = send(body_of("late", R"(,"sluice":{"deadline_ms":200})"));
  expect_waiting(1);
  net::RawClient& gone = send(body_of("gone"));
  expect_waiting(2);
  net::RawClient& too_many = send(body_of("too many"));
  EXPECT_TRUE(too_many.read_until("\r\n").starts_with("HTTP/1.1 503"));
  gone.close();
  EXPECT_TRUE(late.read_until("\r\n").starts_with("HTTP/1.1 503"));
  expect_waiting(0);
  upstream_.answer(0);
  for (const contract::UsageEvent& event : edge_->records().events(4))
    EXPECT_EQ(event.outcome, event.lines.empty() ? Outcome::kRefused : Outcome::kComplete);
  EXPECT_EQ(upstream_.count(), 1U);
  edge_->records().expect_balanced();
}

// Behind one that may wait on, it is not asked about again: its deadline ends it all the same.
TEST_F(EdgeWaiting, WhoStandsBehindOthersGoesAtItsDeadlineToo) {
  make_edge(narrow_snapshot({upstream_.port()}));
  send(body_of("first"));
  EXPECT_EQ(upstream_.next(), "first");
  send(body_of("patient"));
  expect_waiting(1);
  net::RawClient& late = send(body_of("late", R"(,"sluice":{"priority":-2,"deadline_ms":200})"));
  expect_waiting(2);
  EXPECT_TRUE(late.read_until("\r\n").starts_with("HTTP/1.1 503"));
  expect_waiting(1);
  upstream_.answer(0);
  EXPECT_EQ(upstream_.next(), "patient");
  upstream_.answer(1);
  edge_->records().events(3);
  edge_->records().expect_balanced();
}

}  // namespace
}  // namespace sluice::gateway
