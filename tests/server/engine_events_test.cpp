// What a gateway knows of an engine's pages is what the engine has.
#include <condition_variable>
#include <mutex>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "contract/block_hash.h"
#include "core/rng.h"
#include "net/sse.h"
#include "tests/server/running_api.h"

namespace sluice::server::testing {
namespace {

using nlohmann::json;
using Kind = kv::PageChange::Kind;
using News = PageJournal::News;

void apply(const News& news, std::set<uint64_t>* pages) {
  if (news.kind == News::Kind::kSnapshot) pages->clear();
  for (const uint64_t page : news.removed) EXPECT_EQ(pages->erase(page), 1u) << page;
  for (const uint64_t page : news.added) EXPECT_TRUE(pages->insert(page).second) << page;
}

TEST(PageJournal, WhoeverReadsAtAnyPaceHasThePagesThatThereAre) {
  const uint64_t seed = 20261122;
  core::Rng rng(seed);
  PageJournal journal(50);
  std::set<uint64_t> there;
  struct Reader {
    std::set<uint64_t> pages;
    uint64_t sequence = 0;
    int snapshots = 0;
  };
  Reader readers[3];
  for (int round = 0; round < 3000; ++round) {
    std::vector<kv::PageChange> changes;
    for (int64_t i = rng.below(12); i > 0; --i) {
      const auto page = static_cast<uint64_t>(rng.below(30));
      const bool removed = there.erase(page) > 0;
      if (!removed) there.insert(page);
      changes.push_back({page, removed ? Kind::kRemoved : Kind::kAdded});
    }
    journal.add(changes);
    for (int i = 0; i < 3; ++i) {
      if (rng.below(int64_t{1} << (3 * i)) > 0) continue;
      const News news = journal.since(readers[i].sequence);
      readers[i].snapshots += news.kind == News::Kind::kSnapshot;
      apply(news, &readers[i].pages);
      readers[i].sequence = news.sequence;
      ASSERT_EQ(readers[i].pages, there) << "reader " << i << ", seed " << seed;
    }
  }
  EXPECT_EQ(readers[0].snapshots, 0) << "it missed nothing";
  EXPECT_GT(readers[2].snapshots, 10) << "it missed more than is kept";
}

// A gateway's picture of one engine.
class Watcher {
 public:
  Watcher(uint16_t port, std::string last_event_id = "")
      : client_({.host = "127.0.0.1", .port = port}),
        thread_([this, last_event_id] { run(last_event_id); }) {}
  ~Watcher() {
    client_.cancel();
    thread_.join();
  }

  // Waits until `holds(picture)` does.
  template <typename Holds>
  bool wait(Holds holds) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::milliseconds(net::kPatienceMs),
                             [&] { return holds(*this); });
  }

  // Behind wait() only.
  std::set<std::string> pages;
  json last;
  std::vector<json> events;
  bool ended = false;

 private:
  void run(const std::string& last_event_id) {
    const net::Header headers[] = {{"x-sluice-key", kGatewayKey}, {"last-event-id", last_event_id}};
    net::SseParser parser;
    const auto answer = client_.request({.target = "/internal/events", .headers = headers},
                                        [&](const net::Response& head, std::string_view bytes) {
                                          EXPECT_EQ(head.status, 200);
                                          const auto read = parser.feed(
                                              bytes, [&](const net::SseEvent& e) { take(e); });
                                          EXPECT_TRUE(read.ok());
                                        });
    std::lock_guard lock(mutex_);
    ended = answer.ok();
    changed_.notify_all();
  }
  void take(const net::SseEvent& event) {
    std::lock_guard lock(mutex_);
    last = json::parse(event.data);
    events.push_back(last);
    if (last["snapshot"]) pages.clear();
    for (const auto& page : last["removed"]) EXPECT_EQ(pages.erase(page), 1u);
    for (const auto& page : last["added"]) EXPECT_TRUE(pages.insert(page).second);
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  net::BlockingClient client_;
  std::thread thread_;
};

std::vector<int32_t> prompt(uint64_t seed, int64_t tokens) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < tokens; ++i)
    ids.push_back(kFirstLetter +
                  static_cast<int32_t>(40 * core::random_unit(seed, static_cast<uint64_t>(i))));
  return ids;
}

void ask(const RunningApi& api, const std::vector<int32_t>& ids, const std::string& salt) {
  const json body = {{"prompt", ids}, {"max_tokens", 1}, {"sluice", {{"cache_salt", salt}}}};
  EXPECT_EQ(api.post("/v1/completions", body).status, 200);
}

// As a gateway computes them: from the event, the salt that it sends, and token ids.
std::vector<std::string> names_of(const json& event, const std::vector<int32_t>& ids,
                                  const std::string& salt) {
  const uint64_t name_space = std::stoull(event["namespace"].get<std::string>(), nullptr, 16);
  std::vector<uint64_t> hashes;
  contract::extend_page_hashes(contract::combine_namespace(name_space, contract::salt_number(salt)),
                               ids, event["page_tokens"], &hashes);
  std::vector<std::string> names;
  for (const uint64_t hash : hashes) names.push_back(fmt::format("{:016x}", hash));
  return names;
}

TEST(EngineEvents, TellWhatAGatewayComputesToo) {
  const RunningApi api;
  Watcher watcher(api.port());
  ASSERT_TRUE(watcher.wait([](const Watcher& w) { return !w.events.empty(); }));
  const json first = watcher.events.front();
  EXPECT_TRUE(first["snapshot"]);
  EXPECT_EQ(first["state"], "ready");
  EXPECT_EQ(first["load"]["kv_pages"], 64);
  const std::vector<int32_t> ids = prompt(1, 100);
  ask(api, ids, "acme");
  const auto has = [](const Watcher& w, const std::vector<std::string>& names) {
    return std::all_of(names.begin(), names.end(),
                       [&](const std::string& name) { return w.pages.contains(name); });
  };
  ASSERT_EQ(names_of(first, ids, "acme").size(), 3u);
  EXPECT_TRUE(watcher.wait([&](Watcher& w) { return has(w, names_of(first, ids, "acme")); }));
  EXPECT_TRUE(watcher.wait([&](Watcher& w) { return !has(w, names_of(first, ids, "other")); }));
  EXPECT_TRUE(
      watcher.wait([](const Watcher& w) { return w.last["load"]["prefill_tokens_per_s"] > 0; }));
}

TEST(EngineEvents, PagesThatGoAreTold) {
  const RunningApi api({.kv_pages = 8});
  Watcher watcher(api.port());
  for (uint64_t i = 0; i < 6; ++i) ask(api, prompt(i, 100), "acme");
  const std::vector<int32_t> last = prompt(5, 100);
  ASSERT_TRUE(watcher.wait([&](const Watcher& w) {
    return !w.last.is_null() && w.pages.contains(names_of(w.last, last, "acme").back());
  }));
  Watcher fresh(api.port());
  ASSERT_TRUE(fresh.wait([](const Watcher& w) { return !w.events.empty(); }));
  std::set<std::string> now;
  EXPECT_TRUE(fresh.wait([&](const Watcher& w) {
    now = w.pages;
    return true;
  }));
  EXPECT_LE(now.size(), 8u);
  EXPECT_TRUE(watcher.wait([&](const Watcher& w) { return w.pages == now; }));
}

TEST(EngineEvents, AReaderGoesOnWhereItWas) {
  const RunningApi api({.page_changes_max = 4});
  ask(api, prompt(1, 100), "acme");
  std::string epoch;
  uint64_t sequence = 0;
  {
    Watcher watcher(api.port());
    ASSERT_TRUE(watcher.wait([&](const Watcher& w) {
      if (w.pages.size() < 3) return false;
      epoch = w.last["epoch"];
      sequence = w.last["sequence"];
      return true;
    }));
  }
  const auto first_event = [&](const std::string& id) {
    Watcher watcher(api.port(), id);
    json first;
    EXPECT_TRUE(watcher.wait([&](const Watcher& w) {
      if (!w.events.empty()) first = w.events.front();
      return !w.events.empty();
    }));
    return first;
  };
  ask(api, prompt(2, 70), "acme");
  const std::string id = fmt::format("{}-{}", epoch, sequence);
  const json next = first_event(id);
  EXPECT_FALSE(next["snapshot"]);
  EXPECT_EQ(next["added"].size(), 2u);
  for (const std::string& strange :
       {"f" + id, std::string("1"), epoch, epoch + "-x", epoch + "-99"})
    EXPECT_TRUE(first_event(strange)["snapshot"]) << strange;
  ask(api, prompt(3, 100), "acme");
  EXPECT_TRUE(first_event(id)["snapshot"]) << "it missed more than is kept";
}

TEST(EngineEvents, AreTheGatewaysAlone) {
  const RunningApi api;
  const RunningApi without({.gateway_key = ""});
  const auto status = [](const RunningApi& server, std::span<const net::Header> headers) {
    net::BlockingClient client({.host = "127.0.0.1", .port = server.port()});
    return client.request({.target = "/internal/events", .headers = headers}).value().status;
  };
  const net::Header wrong[] = {{"x-sluice-key", "a key that a test may knox"}};
  const net::Header right[] = {{"x-sluice-key", kGatewayKey}};
  net::BlockingClient client({.host = "127.0.0.1", .port = api.port()});
  const net::ClientRequest head{
      .method = net::Method::kHead, .target = "/internal/events", .headers = right};
  EXPECT_EQ(client.request(head).value().status, 200) << "and it ends";
  EXPECT_EQ(status(api, wrong), 401);
  EXPECT_EQ(status(api, {}), 401);
  EXPECT_EQ(status(without, wrong), 404);
}

TEST(EngineEvents, ADrainIsToldAndEndsThem) {
  RunningApi api;
  Watcher watcher(api.port());
  ASSERT_TRUE(watcher.wait([](const Watcher& w) { return !w.events.empty(); }));
  api.drain();
  EXPECT_TRUE(watcher.wait([](const Watcher& w) { return w.last["state"] == "draining"; }));
  EXPECT_TRUE(watcher.wait([](const Watcher& w) { return w.ended; }));
}

}  // namespace
}  // namespace sluice::server::testing
