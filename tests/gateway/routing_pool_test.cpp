// A pool's own capacity, as routing keeps it: over the replicas and models that share the pool.
#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "gateway/routing/routing_table.h"

namespace sluice::gateway {
namespace {

using contract::Place;
using contract::ValveDecision;
using Kind = ValveAnswer::Kind;

constexpr int64_t kSecond = 1'000'000'000;

void add_pool(contract::Snapshot* snapshot, const std::string& id, Place place) {
  contract::Pool& pool = snapshot->pools.emplace_back();
  pool.id = id;
  pool.place = place;
  if (place == Place::kRemote) pool.data_classes.pop_back();  // kPrivate
}

void add_replica(contract::Snapshot* snapshot, const std::string& pool, const std::string& model) {
  contract::Replica& replica = snapshot->replicas.emplace_back();
  replica.id = pool + "-" + std::to_string(snapshot->replicas.size());
  replica.pool = pool;
  replica.model = model;
  replica.url = "http://127.0.0.1:1/v1";
}

// Models m and n, each with a replica in the local pool "own" and in the rented "cheap"; m with one
// in "dear" too.
contract::Snapshot shared_pools() {
  contract::Snapshot snapshot;
  add_pool(&snapshot, "own", Place::kLocal);
  add_pool(&snapshot, "cheap", Place::kRemote);
  add_pool(&snapshot, "dear", Place::kRemote);
  for (const char* id : {"m", "n"}) snapshot.models.emplace_back().id = id;
  for (const char* model : {"m", "n"})
    for (const char* pool : {"own", "cheap"}) add_replica(&snapshot, pool, model);
  add_replica(&snapshot, "dear", "m");
  for (const auto& [pool, nano] : {std::pair("cheap", 1'000'000'000), {"dear", 2'000'000'000}}) {
    contract::Price& price = snapshot.prices.emplace_back();
    price.version = static_cast<int64_t>(snapshot.prices.size());
    price.side = contract::PriceSide::kCost;
    price.pool = pool;
    price.rates[static_cast<size_t>(contract::Unit::kOutputToken)].nano_per_million = nano;
  }
  return snapshot;
}

std::shared_ptr<const RoutingTable> table_of(contract::Snapshot snapshot,
                                             const RoutingTable* before = nullptr) {
  return RoutingTable::make(Directory::compile(std::move(snapshot), {}), before, {4096});
}

RouteAnswer ask(const RoutingTable& table, const std::string& model, int64_t now_ns = 0) {
  RouteRequest request;
  request.model = table.directory().find_model(model);
  request.arrived_ns = now_ns;
  request.facts.tokens = {100, 100, 100};
  request.facts.target.total = {100 * kSecond, contract::Statistic::kP99};
  return table.route(request, {.now_ns = now_ns, .unix_s = 0, .random = 0});
}

std::string pool_of(const RouteAnswer& answer) {
  return answer.flight.in_flight() ? answer.flight.replica().entry->pool->pool->id : "";
}

TEST(routing_pool, is_shared_by_models_and_the_next_cheapest_takes_over) {
  contract::Snapshot snapshot = shared_pools();
  snapshot.pools[0].capacity.streams_max = 3;
  snapshot.pools[1].capacity.streams_max = 2;
  const auto table = table_of(std::move(snapshot));
  std::vector<RouteAnswer> held;
  const auto goes_to = [&](const char* model) {
    held.push_back(ask(*table, model));
    return pool_of(held.back());
  };
  for (const char* model : {"m", "n", "m"}) EXPECT_EQ(goes_to(model), "own");
  EXPECT_EQ(goes_to("n"), "cheap");
  EXPECT_EQ(held.back().valve.reason, ValveDecision::kRemoteSaturated);
  EXPECT_EQ(goes_to("m"), "cheap");
  EXPECT_EQ(goes_to("m"), "dear") << "the cheaper pool is full";
  const RouteAnswer none = ask(*table, "n");
  EXPECT_EQ(none.valve.kind, Kind::kRefuse) << "n has no replica in the pool that has room";
  EXPECT_EQ(none.valve.refusal, Refusal::kSaturated);
  EXPECT_GT(none.valve.retry_after_ns, 0);
  held[1].flight.end(100, UpstreamOutcome::kComplete, kSecond);  // n's own
  EXPECT_EQ(goes_to("m"), "own");
  EXPECT_EQ(table->pools()[0].gate->streams(), 3);
  held.clear();
  for (const RoutedPool& pool : table->pools()) EXPECT_EQ(pool.gate->streams(), 0);
}

TEST(routing_pool, that_is_full_opens_the_valve) {
  contract::Snapshot snapshot = shared_pools();
  snapshot.pools[0].capacity.streams_max = 1;
  const auto table = table_of(std::move(snapshot));
  const RouteAnswer first = ask(*table, "m");
  EXPECT_EQ(table->valve_of(*table->directory().find_model("m")).saturation, 0.0);
  const RouteAnswer second = ask(*table, "m");
  const ValveView valve = table->valve_of(*table->directory().find_model("m"));
  EXPECT_EQ(valve.saturation, 1.0);
  EXPECT_TRUE(valve.open);
}

TEST(routing_pool, tokens_a_minute_are_those_of_the_answers) {
  contract::Snapshot snapshot = shared_pools();
  snapshot.pools[0].capacity.tokens_per_minute = 1000;
  snapshot.pools[1].capacity.tokens_per_minute = 600;
  snapshot.replicas.pop_back();  // the dear one
  const auto table = table_of(std::move(snapshot));
  const auto answered = [&](int64_t output_tokens) {
    RouteAnswer answer = ask(*table, "m");
    const std::string pool = pool_of(answer);
    if (!pool.empty()) answer.flight.end(output_tokens, UpstreamOutcome::kComplete, 0);
    return pool;
  };
  EXPECT_EQ(answered(400), "own");  // 500
  EXPECT_EQ(answered(400), "own");
  EXPECT_EQ(answered(500), "cheap");  // 600
  const RouteAnswer none = ask(*table, "m");
  EXPECT_EQ(none.valve.refusal, Refusal::kSaturated);
  // 200 tokens: the local pool has them after 12 s, the rented one after 20.
  EXPECT_EQ(none.valve.retry_after_ns, 12 * kSecond);
  EXPECT_EQ(pool_of(ask(*table, "m", 12 * kSecond)), "own");
  RouteAnswer busy = ask(*table, "m", 30 * kSecond);
  const int64_t remaining = table->pools()[0].gate->tokens_remaining(30 * kSecond);
  busy.flight.end(0, UpstreamOutcome::kBusy, 30 * kSecond);
  EXPECT_EQ(table->pools()[0].gate->tokens_remaining(30 * kSecond), remaining + 200)
      << "who is turned away has taken nothing";
}

TEST(routing_pool, a_new_snapshot_counts_on) {
  contract::Snapshot snapshot = shared_pools();
  const auto before = table_of(snapshot);
  RouteAnswer running = ask(*before, "m");
  ASSERT_EQ(pool_of(running), "own");
  snapshot.pools[0].capacity.streams_max = 1;
  const auto after = table_of(snapshot, before.get());
  EXPECT_EQ(pool_of(ask(*after, "m")), "cheap");
  running.flight.end(100, UpstreamOutcome::kComplete, kSecond);
  EXPECT_EQ(pool_of(ask(*after, "m", kSecond)), "own");
}

TEST(routing_pool, holds_its_bound_whoever_asks_together) {
  contract::Snapshot snapshot = shared_pools();
  snapshot.pools[0].capacity.streams_max = 3;
  const auto table = table_of(std::move(snapshot));
  std::atomic<int> sent = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        const RouteAnswer answer = ask(*table, i % 2 == 0 ? "m" : "n");
        if (pool_of(answer) != "own") continue;
        EXPECT_LE(table->pools()[0].gate->streams(), 3);
        ++sent;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(sent.load(), 0);
  EXPECT_EQ(table->pools()[0].gate->streams(), 0);
}

}  // namespace
}  // namespace sluice::gateway
