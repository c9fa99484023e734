// What replicas say reaches routing: health, load, pages; and a stream that breaks is taken up.
#include "gateway/watch/replica_watcher.h"

#include <atomic>

#include <gtest/gtest.h>

#include "api/engine_event.h"
#include "net/sse.h"
#include "tests/net/peers.h"

namespace sluice::gateway {
namespace {

using net::kMs;

constexpr std::string_view kKey = "the engine's key";

// An engine that says what it is told to.
class FakeEngine {
 public:
  FakeEngine()
      : server_([this](const net::Request& request, net::Responder responder) {
          answer(request, std::move(responder));
        }) {}
  ~FakeEngine() {
    server_.run([&] { streams_.clear(); });
  }

  uint16_t port() const { return server_.port(); }
  void change_key(std::string key) {
    server_.run([&] { key_ = std::move(key); });
  }
  int probes() const { return probes_; }
  // On the streams that are open now.
  void say(uint64_t sequence, std::vector<uint64_t> added, std::vector<uint64_t> removed = {}) {
    server_.run([&] {
      for (net::Responder& stream : streams_) send(&stream, sequence, added, removed);
    });
  }
  void cut() {
    server_.run([&] {
      for (net::Responder& stream : streams_) stream.abort();
      streams_.clear();
    });
  }
  std::vector<std::string> last_ids() {
    return server_.run([&] { return last_ids_; });
  }

 private:
  void answer(const net::Request& request, net::Responder responder) {
    if (request.path == "/health") {
      ++probes_;
      return responder.send(200, {}, "");
    }
    if (request.path != "/internal/events" || request.header("x-sluice-key") != key_)
      return responder.send(401, {}, "");
    last_ids_.emplace_back(request.header("last-event-id").value_or(""));
    responder.start_stream(200, {});
    if (last_ids_.back().empty()) send(&responder, 1, {100}, {}, true);
    streams_.push_back(std::move(responder));
  }
  static void send(net::Responder* stream, uint64_t sequence, std::vector<uint64_t> added,
                   std::vector<uint64_t> removed, bool snapshot = false) {
    std::string out;
    net::append_sse_data(
        api::to_json(api::EngineEvent{.epoch = "e",
                                      .sequence = sequence,
                                      .snapshot = snapshot,
                                      .added = added,
                                      .removed = removed,
                                      .name_space = 7,
                                      .page_tokens = 32,
                                      .context_tokens_max = 2048,
                                      .load = {.running = 3, .queued_prompt_tokens = 500}}),
        &out);
    stream->write(out);
  }

  std::atomic<int> probes_ = 0;
  std::string key_{kKey};                // on the server's loop
  std::vector<net::Responder> streams_;  // on the server's loop
  std::vector<std::string> last_ids_;
  net::ServerThread server_;
};

std::shared_ptr<const RoutingTable> table_of(uint16_t port) {
  contract::Snapshot snapshot;
  contract::Pool pool;
  pool.id = "own";
  contract::Model model;
  model.id = "m";
  contract::Replica replica;
  replica.id = "r";
  replica.pool = "own";
  replica.model = "m";
  replica.kind = contract::ReplicaKind::kSluice;
  replica.url = fmt::format("http://127.0.0.1:{}/v1", port);
  replica.secret = "engine";
  snapshot.pools = {pool};
  snapshot.models = {model};
  snapshot.replicas = {replica};
  return RoutingTable::make(Directory::compile(std::move(snapshot), {}), nullptr, {4096});
}

struct Watched : testing::Test {
  Watched() : table(table_of(engine.port())) {
    loop.run([&] {
      watcher = std::make_unique<ReplicaWatcher>(
          ReplicaWatcher::Parts{.loop = loop.loop(),
                                .clock = clock,
                                .log = log,
                                .secrets = {{"engine", std::string(kKey)}}});
      watcher->update(table);
    });
  }
  ~Watched() override {
    loop.run([&] { watcher.reset(); });
  }
  bool has(uint64_t page) {
    std::array<int32_t, PrefixIndex::kReplicasMax> blocks{};
    table->prefixes().match(std::vector<uint64_t>{page}, clock.now_ns(), blocks);
    return blocks[static_cast<size_t>(table->replicas()[0].slot.value)] == 1;
  }
  template <typename Holds>
  bool becomes(Holds holds) {
    const int64_t until_ns = clock.now_ns() + net::kPatienceMs * kMs;
    while (!holds())
      if (clock.now_ns() > until_ns) return false;
    return true;
  }

  const core::SystemClock clock;
  const core::Logger log{core::LogLevel::kError};
  FakeEngine engine;
  const std::shared_ptr<const RoutingTable> table;
  net::LoopThread loop;
  std::unique_ptr<ReplicaWatcher> watcher;
};

TEST_F(Watched, PagesAndLoadReachRouting) {
  EXPECT_TRUE(becomes([&] { return has(100); }));
  engine.say(2, {200}, {100});
  EXPECT_TRUE(becomes([&] { return has(200) && !has(100); }));
  EXPECT_EQ(table->replicas()[0].tracker->view(clock.now_ns()).queued_prompt_tokens, 500);
  EXPECT_EQ(table->context_tokens(table->directory().models()[0]), 2048);
}

TEST_F(Watched, AStreamThatBreaksIsTakenUpWhereItWas) {
  EXPECT_TRUE(becomes([&] { return has(100); }));
  engine.say(5, {200});
  EXPECT_TRUE(becomes([&] { return has(200); }));
  engine.cut();
  EXPECT_TRUE(becomes([&] { return engine.last_ids().size() == 2; }));
  EXPECT_EQ(engine.last_ids().back(), "e-5");
  engine.say(6, {300});
  EXPECT_TRUE(becomes([&] { return has(300) && has(200); }));
}

TEST_F(Watched, NewsThatDoNotFollowBringASnapshot) {
  EXPECT_TRUE(becomes([&] { return has(100); }));
  engine.say(9, {200});
  EXPECT_TRUE(becomes([&] { return has(200); }));
  engine.say(3, {300});  // a sequence that falls
  EXPECT_TRUE(becomes([&] { return engine.last_ids().size() == 2; }));
  EXPECT_EQ(engine.last_ids().back(), "");
  EXPECT_TRUE(becomes([&] { return has(100) && !has(200); }));
}

TEST_F(Watched, AnotherSecretIsShownAtOnce) {
  EXPECT_TRUE(becomes([&] { return has(100); }));
  const auto take = [&](std::string secret) {
    loop.run([&] { watcher->take_secrets({{"engine", std::move(secret)}}); });
  };
  take(std::string(kKey));
  engine.say(2, {200});
  EXPECT_TRUE(becomes([&] { return has(200); }));
  EXPECT_EQ(engine.last_ids().size(), 1U) << "the same secret: the stream goes on";
  engine.change_key("a newer one");
  take("a newer one");
  EXPECT_TRUE(becomes([&] { return engine.last_ids().size() == 2; }));
}

TEST_F(Watched, AProbeThatWasAnsweredIsNotDueAgainAtOnce) {
  const ReplicaTracker& tracker = *table->replicas()[0].tracker;
  EXPECT_TRUE(becomes([&] { return !tracker.probe_due(clock.now_ns()); }));
  EXPECT_EQ(engine.probes(), 1);
}

}  // namespace
}  // namespace sluice::gateway
