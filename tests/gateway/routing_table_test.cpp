#include "gateway/routing/routing_table.h"

#include <gtest/gtest.h>

#include "core/rng.h"

namespace sluice::gateway {
namespace {

using contract::Place;
using contract::ValveDecision;
using Kind = ValveAnswer::Kind;

constexpr int64_t kSecond = 1'000'000'000;

contract::Replica replica_of(const std::string& id, const std::string& pool) {
  contract::Replica replica;
  replica.id = id;
  replica.pool = pool;
  replica.model = "m";
  replica.url = "http://127.0.0.1:1/v1";
  return replica;
}

contract::Snapshot snapshot_of(int locals, int remotes) {
  contract::Snapshot snapshot;
  snapshot.pools.resize(2);
  snapshot.pools[0].id = "own";
  contract::Pool& rented = snapshot.pools[1];
  rented.id = "rented";
  rented.place = Place::kRemote;
  rented.owner = "cloud";
  rented.data_classes.pop_back();  // kPrivate
  contract::Model model;
  model.id = "m";
  snapshot.models = {model};
  for (int i = 0; i < locals; ++i)
    snapshot.replicas.push_back(replica_of("local-" + std::to_string(i), "own"));
  for (int i = 0; i < remotes; ++i)
    snapshot.replicas.push_back(replica_of("remote-" + std::to_string(i), "rented"));
  contract::Price price;
  price.version = 1;
  price.side = contract::PriceSide::kCost;
  price.pool = "rented";
  price.rates[static_cast<size_t>(contract::Unit::kOutputToken)].nano_per_million = 1'000'000'000;
  snapshot.prices = {price};
  return snapshot;
}

std::shared_ptr<const RoutingTable> table_of(contract::Snapshot snapshot,
                                             const RoutingTable* before = nullptr) {
  return RoutingTable::make(Directory::compile(std::move(snapshot), {}), before, {4096});
}

RouteRequest request_of(const RoutingTable& table) {
  RouteRequest request;
  request.model = table.directory().find_model("m");
  request.facts.tokens = {100, 100, 100};
  return request;
}

std::string sent_to(const RouteAnswer& answer) {
  return answer.flight.in_flight() ? answer.flight.replica().entry->replica->id : "";
}

TEST(routing_table, counts_what_it_sends_until_its_end) {
  const auto table = table_of(snapshot_of(1, 0));
  const ReplicaTracker& tracker = *table->replicas()[0].tracker;
  RouteAnswer answer = table->route(request_of(*table), {});
  ASSERT_EQ(answer.valve.kind, Kind::kSend);
  EXPECT_EQ(sent_to(answer), "local-0");
  EXPECT_EQ(tracker.streams(), 1);
  EXPECT_EQ(tracker.view(0).queued_prompt_tokens, 100);
  answer.flight.first_token(kSecond / 10);
  EXPECT_EQ(tracker.view(0).queued_prompt_tokens, 0);
  answer.flight.tokens(100, 2 * kSecond);
  EXPECT_TRUE(answer.flight.end(100, UpstreamOutcome::kComplete, 2 * kSecond));
  EXPECT_EQ(tracker.streams(), 0);
  EXPECT_EQ(tracker.view(0).output_tokens_left, 0);
  { const RouteAnswer dropped = table->route(request_of(*table), {}); }
  EXPECT_EQ(tracker.streams(), 0) << "a flight that is let go has ended";
}

// A refusal's Retry-After: what runs has so many tokens left, and shorter the more have come.
TEST(routing_table, knows_how_much_is_left_of_what_runs) {
  contract::Snapshot snapshot = snapshot_of(1, 0);
  snapshot.replicas[0].speed.streams_max = 1;
  const auto table = table_of(std::move(snapshot));
  RouteAnswer first = table->route(request_of(*table), {});
  ASSERT_EQ(first.valve.kind, Kind::kSend);
  const auto retry_after_ns = [&] {
    const RouteAnswer answer = table->route(request_of(*table), {});
    EXPECT_EQ(answer.valve.kind, Kind::kRefuse);
    return answer.valve.retry_after_ns;
  };
  const int64_t all_ns = retry_after_ns();
  first.flight.first_token(kSecond);
  first.flight.tokens(75, 2 * kSecond);
  EXPECT_NEAR(static_cast<double>(retry_after_ns()), 0.25 * static_cast<double>(all_ns), 1e6);
  first.flight.tokens(120, 3 * kSecond);  // longer than expected: any time now
  EXPECT_LT(retry_after_ns(), all_ns / 20);
  first.flight.end(120, UpstreamOutcome::kComplete, 3 * kSecond);
  EXPECT_EQ(table->replicas()[0].tracker->view(0).output_tokens_left, 0);
}

TEST(routing_table, says_whether_the_target_was_met) {
  const auto table = table_of(snapshot_of(1, 0));
  RouteRequest request = request_of(*table);
  request.facts.target.total = {3 * kSecond, contract::Statistic::kP99};
  for (const auto& [end_ns, outcome, met] :
       {std::tuple{3 * kSecond, UpstreamOutcome::kComplete, true},
        std::tuple{3 * kSecond + 1, UpstreamOutcome::kComplete, false},
        std::tuple{kSecond, UpstreamOutcome::kServerError, false}}) {
    RouteAnswer answer = table->route(request, {});
    EXPECT_EQ(answer.flight.end(100, outcome, end_ns), met);
  }
}

TEST(routing_table, measures_the_time_of_who_is_sold_by_it) {
  contract::Snapshot snapshot = snapshot_of(1, 0);
  const auto compute_us = [&] {
    const auto table = table_of(snapshot);
    RouteAnswer first = table->route(request_of(*table), {.now_ns = kSecond});
    RouteAnswer second = table->route(request_of(*table), {.now_ns = 2 * kSecond});
    second.flight.end(1, UpstreamOutcome::kComplete, 4 * kSecond);
    first.flight.end(0, UpstreamOutcome::kClientGone, 5 * kSecond);
    return std::pair(first.flight.compute_us(), second.flight.compute_us());
  };
  EXPECT_EQ(compute_us(), std::pair(int64_t{0}, int64_t{0}));
  snapshot.prices[0].pool = "own";
  snapshot.prices[0].rates[static_cast<size_t>(contract::Unit::kComputeMicrosecond)] = {1};
  EXPECT_EQ(compute_us(), std::pair(int64_t{3'000'000}, int64_t{1'000'000}));
}

TEST(routing_table, spreads_by_load_and_stays_with_a_prefix) {
  const auto table = table_of(snapshot_of(2, 0));
  RouteRequest request = request_of(*table);
  request.facts.tokens = {3000, 10, 10};
  std::vector<uint64_t> chain;
  append_byte_blocks(1, std::string(12'000, 'a'), &chain);
  request.chain = chain;
  RouteAnswer first = table->route(request, {});
  const std::string home = sent_to(first);
  first.flight.end(10, UpstreamOutcome::kClientGone, 1);
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(sent_to(table->route(request, {.now_ns = 2, .unix_s = 0, .random = 0})), home);
  std::vector<RouteAnswer> held;
  request.chain = {};
  for (int i = 0; i < 4; ++i) held.push_back(table->route(request, {}));
  EXPECT_EQ(table->replicas()[0].tracker->streams(), 2);
  EXPECT_EQ(table->replicas()[1].tracker->streams(), 2);
}

// As much work waits where a prefix is as the prefix itself is. Then it is computed a second time
// where pages are free, but not where it would drive other prefixes out.
TEST(routing_table, a_full_cache_takes_no_second_copy) {
  for (const int64_t pages_cached : {0, 1000}) {
    const auto table = table_of(snapshot_of(2, 0));
    const Moment later{.now_ns = 1, .unix_s = 0, .random = 0};
    RouteRequest request = request_of(*table);
    request.facts.tokens = {3000, 100, 100};
    std::vector<uint64_t> chain;
    append_byte_blocks(1, std::string(12'000, 'a'), &chain);
    request.chain = chain;
    const std::string home = sent_to(table->route(request, {}));
    for (const RoutedReplica& replica : table->replicas())
      replica.tracker->on_load({.pages_cached = pages_cached, .pages = 1000}, 1);
    const std::vector<std::string> other = {home == "local-0" ? "local-1" : "local-0"};
    request.chain = {};
    request.tried = other;
    const RouteAnswer waits = table->route(request, later);
    ASSERT_EQ(sent_to(waits), home);
    request.chain = chain;
    request.tried = {};
    EXPECT_EQ(sent_to(table->route(request, later)), pages_cached == 0 ? other[0] : home);
  }
}

TEST(routing_table, tries_elsewhere_and_leaves_out_the_ejected) {
  const auto table = table_of(snapshot_of(2, 0));
  RouteRequest request = request_of(*table);
  const std::vector<std::string> tried = {"local-0"};
  request.tried = tried;
  EXPECT_EQ(sent_to(table->route(request, {})), "local-1");
  request.tried = {};
  for (int i = 0; i < 5; ++i)
    table->replicas()[1].tracker->health().on_outcome(UpstreamOutcome::kConnectError, 0);
  std::vector<RouteAnswer> held;
  for (int i = 0; i < 4; ++i) {
    held.push_back(table->route(request, {}));
    EXPECT_EQ(sent_to(held.back()), "local-0");
  }
}

TEST(routing_table, a_new_table_keeps_what_was_learnt_of_what_is_the_same) {
  const auto before = table_of(snapshot_of(2, 1));
  RouteAnswer flight = before->route(request_of(*before), {});
  contract::Snapshot changed = snapshot_of(2, 2);
  changed.replicas[1].url = "http://127.0.0.1:2/v1";
  const auto after = table_of(changed, before.get());
  EXPECT_EQ(after->replicas()[0].tracker, before->replicas()[0].tracker);
  EXPECT_NE(after->replicas()[1].tracker, before->replicas()[1].tracker);
  EXPECT_EQ(&after->prefixes(), &before->prefixes());
  EXPECT_EQ(after->replicas().size(), 4u);
}

TEST(routing_table, a_flight_keeps_its_table_alive) {
  auto table = table_of(snapshot_of(1, 0));
  RouteAnswer answer = table->route(request_of(*table), {});
  const auto tracker = table->replicas()[0].tracker;
  table.reset();
  EXPECT_EQ(sent_to(answer), "local-0");
  answer.flight.end(1, UpstreamOutcome::kComplete, 1);
  EXPECT_EQ(tracker->streams(), 0);
}

TEST(routing_table, states_of_replicas) {
  contract::Snapshot snapshot = snapshot_of(2, 0);
  snapshot.replicas[0].state = contract::ReplicaState::kDraining;
  snapshot.replicas[1].state = contract::ReplicaState::kStarting;
  snapshot.replicas[1].ready_at_unix_ns = 105 * kSecond;
  const auto table = table_of(snapshot);
  RouteRequest request = request_of(*table);
  request.facts.deadline_ns = 10 * kSecond;
  const Moment moment{.now_ns = 0, .unix_s = 100, .random = 0};
  auto answer = table->route(request, moment);
  EXPECT_EQ(answer.valve.kind, Kind::kWait);
  EXPECT_EQ(answer.valve.retry_after_ns, 5 * kSecond);
  request.facts.deadline_ns = kSecond;
  answer = table->route(request, moment);
  EXPECT_EQ(answer.valve.kind, Kind::kRefuse);
  EXPECT_EQ(answer.valve.retry_after_ns, 5 * kSecond);
}

TEST(routing_table, an_engine_that_drains_gets_nothing_more) {
  const auto table = table_of(snapshot_of(2, 0));
  EngineLoad load;
  load.state = contract::ReplicaState::kDraining;
  table->replicas()[0].tracker->on_load(load, 0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(sent_to(table->route(request_of(*table), {})), "local-1");
}

TEST(routing_table, fallback_models) {
  contract::Snapshot snapshot = snapshot_of(1, 0);
  contract::Model other;
  other.id = "other";
  other.fallbacks = {"m"};
  snapshot.models.push_back(other);
  const auto table = table_of(snapshot);
  const ModelEntry* const model = table->directory().find_model("m");
  EXPECT_EQ(table->model_with_replica(*table->directory().find_model("other"), 0), model);
  EXPECT_EQ(table->model_with_replica(*model, 0), model);
}

TEST(routing_table, prefixes_pay_with_two_replicas) {
  const auto one = table_of(snapshot_of(1, 0));
  EXPECT_EQ(one->prefix_geometry(*one->directory().find_model("m")).kind,
            PrefixGeometry::Kind::kNone);
  contract::Snapshot snapshot = snapshot_of(2, 0);
  snapshot.models[0].vocabulary_file = "vocabulary.gguf";
  const auto two = table_of(snapshot);
  const ModelEntry& model = *two->directory().find_model("m");
  EXPECT_EQ(two->prefix_geometry(model).kind, PrefixGeometry::Kind::kBytes);
  two->on_geometry(*two->directory().find_replica("local-0"),
                   {PrefixGeometry::Kind::kTokens, 16, 99});
  EXPECT_EQ(two->prefix_geometry(model).page_tokens, 16);
  EXPECT_EQ(two->prefix_geometry(model).name_space, 99u);
}

// A replica whose speed was wrong in the snapshot is known after some answers.
TEST(routing_table, learns_what_a_replica_really_does) {
  const auto table = table_of(snapshot_of(1, 0));
  RouteRequest request = request_of(*table);
  int64_t now_ns = 0;
  Latency predicted;
  for (int i = 0; i < 40; ++i) {
    request.arrived_ns = now_ns;
    RouteAnswer answer = table->route(request, {.now_ns = now_ns, .unix_s = 0, .random = 0});
    predicted = answer.valve.predicted;
    answer.flight.first_token(now_ns + kSecond);
    now_ns += 11 * kSecond;
    answer.flight.tokens(101, now_ns);
    answer.flight.end(101, UpstreamOutcome::kComplete, now_ns);
  }
  EXPECT_NEAR(predicted.ttft_ns, 1e9, 0.1e9);
  EXPECT_NEAR(predicted.tpot_ns, 0.1e9, 0.01e9);
  EXPECT_NEAR(predicted.total_ns, 11e9, 1e9);
}

// A remote that was slow is tried again after a minute, by one request at a time.
TEST(routing_table, gives_a_slow_replica_another_trial) {
  const auto table = table_of(snapshot_of(0, 1));
  RouteRequest request = request_of(*table);
  int64_t now_ns = 0;
  const auto ask = [&] {
    request.arrived_ns = now_ns;
    return table->route(request, {.now_ns = now_ns, .unix_s = 0, .random = 0});
  };
  const double usual_ns = ask().valve.predicted.total_ns;
  for (int i = 0; i < 10; ++i) {
    RouteAnswer answer = ask();
    now_ns += 60 * kSecond;
    answer.flight.end(100, UpstreamOutcome::kComplete, now_ns);
  }
  EXPECT_GT(ask().valve.predicted.total_ns, 10 * usual_ns);
  now_ns += 61 * kSecond;
  RouteAnswer trial = ask();
  EXPECT_NEAR(trial.valve.predicted.total_ns, usual_ns, 0.1 * usual_ns);
  EXPECT_GT(ask().valve.predicted.total_ns, 10 * usual_ns) << "one at a time";
  trial.flight.end(100, UpstreamOutcome::kComplete, now_ns + static_cast<int64_t>(usual_ns));
  EXPECT_NEAR(ask().valve.predicted.total_ns, usual_ns, 0.2 * usual_ns);
}

// Streams that still run say that their remote has become slow; a local replica is run ahead.
TEST(routing_table, hears_a_slow_remote_before_its_streams_end) {
  contract::Snapshot snapshot = snapshot_of(0, 2);
  snapshot.replicas[1].speed.decode_tokens_per_s = 25.0;  // in time, and not as good
  const auto table = table_of(std::move(snapshot));
  RouteRequest request = request_of(*table);
  request.facts.target.tpot = {60'000'000, contract::Statistic::kP99};
  constexpr int64_t kLater = 3 * kSecond;
  const auto asked = [&] {
    return sent_to(table->route(request, {.now_ns = kLater, .unix_s = 0, .random = 0}));
  };
  ReplicaTracker& slow = *table->replicas()[0].tracker;
  std::vector<SentRequest> running;
  for (int i = 0; i < 6; ++i) running.push_back(slow.begin({.tokens = {100, 1000, 1000}}, 0));
  for (SentRequest& sent : running) slow.first_token(&sent, kSecond / 10);
  const auto say = [&](int64_t tokens) {
    for (SentRequest& sent : running) slow.tokens(&sent, tokens, kLater);
  };
  say(15);
  EXPECT_EQ(slow.latest_tpot_ns(kLater), 0.0) << "too few tokens to tell";
  EXPECT_EQ(asked(), "remote-0");
  say(30);
  EXPECT_NEAR(slow.latest_tpot_ns(kLater), 0.1e9, 1e4);
  EXPECT_EQ(asked(), "remote-1");
  say(200);
  EXPECT_EQ(asked(), "remote-0") << "it is fast again";
  for (SentRequest& sent : running) slow.end(&sent, 200, UpstreamOutcome::kComplete, kLater);
  EXPECT_EQ(slow.latest_tpot_ns(kLater), 0.0);
}

// What the spread of a pace far below its limit is says nothing about the decisions near it.
TEST(routing_table, learns_the_pace_of_answers_near_their_limit) {
  const auto table = table_of(snapshot_of(1, 0));
  ReplicaTracker& tracker = *table->replicas()[0].tracker;
  const auto answer = [&](int64_t tpot_ns, int64_t limit_ns) {
    SentRequest sent = tracker.begin({.tokens = {100, 101, 101},
                                      .raw = {1e8, 1e7, 1e9},
                                      .tpot = {limit_ns, contract::Statistic::kP99}},
                                     0);
    tracker.first_token(&sent, kSecond);
    tracker.tokens(&sent, 101, kSecond + 100 * tpot_ns);
    tracker.end(&sent, 101, UpstreamOutcome::kComplete, sent.last_token_ns);
  };
  const auto variance = [&] { return tracker.view(0).tpot.variance; };
  for (int i = 0; i < 100; ++i) answer(20'000'000, kSecond);
  const float known = variance();
  for (int i = 0; i < 20; ++i) answer(i % 2 == 0 ? 18'000'000 : 22'000'000, kSecond);
  EXPECT_EQ(variance(), known) << "20 ms where a second is allowed";
  for (int i = 0; i < 20; ++i) answer(i % 2 == 0 ? 18'000'000 : 22'000'000, 22'000'000);
  EXPECT_GT(variance(), 1.5F * known);
}

TEST(routing_table, a_valve_closes_though_nobody_asks) {
  contract::Snapshot snapshot = snapshot_of(1, 1);
  snapshot.replicas[0].speed.streams_max = 1;
  const auto table = table_of(std::move(snapshot));
  const ModelEntry& model = *table->directory().find_model("m");
  RouteAnswer first = table->route(request_of(*table), {});
  EXPECT_EQ(sent_to(first), "local-0");
  EXPECT_EQ(sent_to(table->route(request_of(*table), {})), "remote-0");
  EXPECT_TRUE(table->valve_of(model).open);
  first.flight.end(100, UpstreamOutcome::kComplete, kSecond);
  for (int64_t s = 1; s < 11; ++s) table->sweep(s * kSecond);
  EXPECT_TRUE(table->valve_of(model).open);
  table->sweep(11 * kSecond);
  EXPECT_FALSE(table->valve_of(model).open);
}

TEST(routing_table, sweep_ejects_the_ttft_outlier) {
  const auto table = table_of(snapshot_of(4, 0));
  for (int64_t i = 0; i < 4; ++i) {
    ReplicaTracker& tracker = *table->replicas()[static_cast<size_t>(i)].tracker;
    SentRequest sent =
        tracker.begin({.tokens = {100, 10, 10}, .raw = {1e9, 1e7, 1e9}, .tpot = {}}, 0);
    tracker.first_token(&sent, i == 2 ? 4 * kSecond : kSecond);
    tracker.end(&sent, 1, UpstreamOutcome::kClientGone, 4 * kSecond);
  }
  for (int64_t s = 5; s < 36; ++s) table->sweep(s * kSecond);
  for (int64_t i = 0; i < 4; ++i)
    EXPECT_EQ(table->replicas()[static_cast<size_t>(i)].tracker->health().out(36 * kSecond),
              i == 2);
}

}  // namespace
}  // namespace sluice::gateway
