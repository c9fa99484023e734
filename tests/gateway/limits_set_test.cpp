// A request against the limits of its key, project, tenant and model: all or none, what a refusal
// says, what the end gives back, what outlives a snapshot.

#include <gtest/gtest.h>

#include "core/clock.h"
#include "gateway/limits/limit_set.h"
#include "gateway/limits/limit_table.h"
#include "gateway/limits/period.h"
#include "tests/gateway/one_key.h"

namespace sluice::gateway {
namespace {

using contract::Limits;
using contract::NanoMoney;

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kMinuteNs = 60 * kSecondNs;
constexpr int64_t kDayNs = 86'400 * kSecondNs;

// One key of one project of one tenant, and one model.
struct World {
  Limits& key() { return snapshot.keys[0].limits; }
  Limits& project() { return snapshot.projects[0].limits; }
  Limits& tenant() { return snapshot.tenants[0].limits; }
  Limits& model() { return snapshot.models[0].limits; }

  std::vector<LimitName> apply() { return change().uncounted; }
  LimitsChange change() {
    LimitsChange change = table.apply(std::make_shared<contract::Snapshot>(snapshot));
    sets = {table.key_limits(snapshot.keys[0], snapshot.projects[0]),
            table.model_limits(snapshot.models[0])};
    return change;
  }
  auto reserve(const Demand& demand) { return gateway::reserve(sets, demand); }
  int64_t requests_left() { return rate_limit_headers(sets).requests->remaining; }
  int64_t tokens_left() { return rate_limit_headers(sets).tokens->remaining; }

  core::ManualClock clock;
  contract::Snapshot snapshot = one_key();
  LimitTable table{clock};
  LimitSets sets;
};

Demand tokens(int64_t input, int64_t output) {
  return {.input_tokens = input, .output_tokens_likely = output, .output_tokens_max = output};
}

TEST(LimitsSet, WithoutLimitsAllPass) {
  World world;
  EXPECT_TRUE(world.apply().empty());
  auto reserved = world.reserve(tokens(INT64_MAX, INT64_MAX));
  ASSERT_TRUE(reserved.ok());
  EXPECT_TRUE(reserved->held());
  EXPECT_FALSE(rate_limit_headers(world.sets).requests.has_value());
  EXPECT_FALSE(rate_limit_headers(world.sets).tokens.has_value());
}

TEST(LimitsSet, ARefusalGivesBackWhatOthersHadTaken) {
  World world;
  world.key() = {.requests_per_minute = 10, .tokens_per_minute = 1'000, .tokens_per_day = 5'000};
  world.project() = {.input_tokens_per_minute = 1'000, .concurrent_streams = 5};
  world.tenant() = {.tokens_per_month = 50'000};
  world.model() = {.output_tokens_per_minute = 50};
  world.apply();
  const auto refused = world.reserve(tokens(100, 51));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().object, LimitObject::kModel);
  EXPECT_EQ(refused.error().object_id, "smol");
  EXPECT_EQ(refused.error().dimension, Dimension::kOutputTokensPerMinute);
  EXPECT_EQ(refused.error().kind, LimitRefusal::Kind::kRateLimitExceeded);
  EXPECT_EQ(refused.error().limit, 50);
  EXPECT_EQ(refused.error().requested, 51);
  EXPECT_EQ(refused.error().retry_after_ns, std::nullopt)
      << "more than the limit ever lets through";
  EXPECT_EQ(world.requests_left(), 10);
  for (int i = 0; i < 5; ++i) {
    ASSERT_FALSE(world.reserve(tokens(900, 51)).ok());
  }
  EXPECT_TRUE(world.reserve(tokens(950, 50)).ok()) << "all that was taken came back";
}

TEST(LimitsSet, SettlesOnceAndCountsTheRequest) {
  World world;
  world.key() = {.requests_per_minute = 10, .tokens_per_minute = 1'000, .concurrent_streams = 1};
  world.apply();
  auto reserved = world.reserve(tokens(300, 500));
  ASSERT_TRUE(reserved.ok());
  EXPECT_EQ(world.tokens_left(), 200);
  EXPECT_FALSE(world.reserve(tokens(1, 1)).ok()) << "one stream is open";
  reserved->settle({.input_tokens = 280, .output_tokens = 20});
  EXPECT_FALSE(reserved->held());
  reserved->settle({.input_tokens = 280, .output_tokens = 20});
  reserved->refund();
  EXPECT_EQ(world.tokens_left(), 700);
  EXPECT_EQ(world.requests_left(), 9);
  EXPECT_TRUE(world.reserve(tokens(1, 1)).ok());
}

TEST(LimitsSet, MovesAndTheDestructorRefunds) {
  World world;
  world.key() = {.requests_per_minute = 10, .tokens_per_minute = 1'000};
  world.apply();
  {
    auto reserved = world.reserve(tokens(100, 100));
    ASSERT_TRUE(reserved.ok());
    LimitReservation moved = std::move(reserved).value();
    LimitReservation again;
    again = std::move(moved);
    EXPECT_FALSE(moved.held());  // NOLINT: what a move leaves is part of the contract
    EXPECT_TRUE(again.held());
    EXPECT_EQ(world.tokens_left(), 800);
    auto other = world.reserve(tokens(50, 50));
    ASSERT_TRUE(other.ok());
    again = std::move(other).value();
    EXPECT_EQ(world.tokens_left(), 900) << "what is overwritten goes back";
  }
  EXPECT_EQ(world.tokens_left(), 1'000);
  EXPECT_EQ(world.requests_left(), 10);
}

TEST(LimitsSet, WhatOutgrowsItsReservationIsBookedAtOnce) {
  World world;
  world.key() = {.output_tokens_per_minute = 100, .tokens_per_minute = 1'000};
  world.apply();
  auto reserved =
      world.reserve({.input_tokens = 10, .output_tokens_likely = 50, .output_tokens_max = 500});
  ASSERT_TRUE(reserved.ok());
  reserved->outgrow(50);
  EXPECT_EQ(world.tokens_left(), 50);
  reserved->outgrow(80);
  reserved->outgrow(70);
  EXPECT_EQ(world.tokens_left(), 20);
  reserved->outgrow(160);
  EXPECT_EQ(world.tokens_left(), 0);
  const auto refused = world.reserve(tokens(0, 40));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().retry_after_ns, kMinuteNs) << "60 beyond the burst and 40";
  reserved->settle({.input_tokens = 10, .output_tokens = 170});
  EXPECT_EQ(world.reserve(tokens(0, 30)).error().retry_after_ns, kMinuteNs);
}

TEST(LimitsSet, CountedTooHighWhileItStreamed) {
  World world;
  world.key() = {.output_tokens_per_minute = 100};
  world.apply();
  auto reserved = world.reserve(tokens(0, 50));
  ASSERT_TRUE(reserved.ok());
  reserved->outgrow(60);
  reserved->settle({.output_tokens = 45});
  EXPECT_EQ(world.tokens_left(), 55);
}

TEST(LimitsSet, RetryAfterIsThatOfTheLongestWait) {
  World world;
  world.key() = {.requests_per_minute = 60, .burst_ms = 1'000};  // one a second, one at once
  world.model() = {.tokens_per_minute = 60};
  world.apply();
  auto first = world.reserve(tokens(20, 20));
  ASSERT_TRUE(first.ok());
  const auto refused = world.reserve(tokens(25, 25));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().object, LimitObject::kModel);
  EXPECT_EQ(refused.error().retry_after_ns, 30 * kSecondNs);
  EXPECT_EQ(refused.error().message,
            "Limit reached for model smol on tokens per minute: limit 60, this request 50. "
            "Try again in 30s.");
  world.clock.advance_ns(30 * kSecondNs - 1);
  EXPECT_FALSE(world.reserve(tokens(25, 25)).ok());
  world.clock.advance_ns(1);
  EXPECT_TRUE(world.reserve(tokens(25, 25)).ok());
}

TEST(LimitsSet, RetryAfterDoesNotCountTheRefusedRequestItself) {
  World world;
  world.key() = {.requests_per_minute = 2};
  world.model() = {.tokens_per_minute = 60};
  world.apply();
  auto first = world.reserve(tokens(20, 20));
  const auto refused = world.reserve(tokens(20, 25));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().object, LimitObject::kModel);
  EXPECT_EQ(refused.error().retry_after_ns, 25 * kSecondNs);
}

TEST(LimitsSet, ConcurrencyKnowsNoTime) {
  World world;
  world.key() = {.concurrent_streams = 1};
  world.apply();
  auto first = world.reserve({});
  const auto refused = world.reserve({});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().dimension, Dimension::kConcurrentStreams);
  EXPECT_EQ(refused.error().retry_after_ns, std::nullopt);
  first->refund();
  EXPECT_TRUE(world.reserve({}).ok());
}

TEST(LimitsSet, CalendarQuotasReserveInFull) {
  World world;
  world.key() = {.tokens_per_minute = 1'000, .tokens_per_day = 100};
  world.apply();
  const Demand demand = {.input_tokens = 10, .output_tokens_likely = 5, .output_tokens_max = 60};
  auto first = world.reserve(demand);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(world.tokens_left(), 985) << "per minute only what is likely";
  const auto refused = world.reserve(demand);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, LimitRefusal::Kind::kInsufficientQuota);
  EXPECT_EQ(refused.error().dimension, Dimension::kTokensPerDay);
  EXPECT_EQ(world.clock.unix_ns() + *refused.error().retry_after_ns,
            period_start_unix_ns(PeriodKind::kDay,
                                 period_of(PeriodKind::kDay, world.clock.unix_ns()) + 1));
  first->settle({.input_tokens = 10, .output_tokens = 4});
  EXPECT_TRUE(world.reserve(demand).ok());
}

// A request counts in the day in which it was reserved, to its end.
TEST(LimitsSet, OpenAtMidnight) {
  World world;
  world.key() = {.tokens_per_day = 100};
  world.apply();
  auto yesterday = world.reserve(tokens(50, 50));
  ASSERT_TRUE(yesterday.ok());
  world.clock.advance_ns(kDayNs);
  auto today = world.reserve(tokens(50, 50));
  ASSERT_TRUE(today.ok()) << "yesterday's reservation takes nothing from today";
  yesterday->settle({.input_tokens = 50, .output_tokens = 10});
  EXPECT_FALSE(world.reserve(tokens(1, 0)).ok()) << "yesterday's refund is yesterday's";
  today->settle({.input_tokens = 50, .output_tokens = 40});
  EXPECT_TRUE(world.reserve(tokens(10, 0)).ok());
  EXPECT_FALSE(world.reserve(tokens(11, 0)).ok());
}

TEST(LimitsSet, MoneyByDayAndMonth) {
  World world;
  world.tenant() = {.money_per_day = NanoMoney{1'000}, .money_per_month = NanoMoney{1'500}};
  world.apply();
  auto first = world.reserve({.money_max = {1'000}});
  ASSERT_TRUE(first.ok());
  first->settle({.money = {900}});
  EXPECT_EQ(world.reserve({.money_max = {101}}).error().dimension, Dimension::kMoneyPerDay);
  world.clock.advance_ns(kDayNs);
  const auto refused = world.reserve({.money_max = {601}});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().dimension, Dimension::kMoneyPerMonth);
  EXPECT_TRUE(world.reserve({.money_max = {600}}).ok());
}

TEST(LimitsSet, APrepaidBalance) {
  World world;
  world.snapshot.tenants[0].prepaid = true;
  const LimitName name = {LimitObject::kTenant, "acme", Dimension::kBalance};
  EXPECT_EQ(world.apply(), std::vector{name});
  const auto unknown = world.reserve({.money_max = {1}});
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().kind, LimitRefusal::Kind::kNotKnownYet);
  EXPECT_EQ(unknown.error().retry_after_ns, kSecondNs);
  EXPECT_EQ(unknown.error().message,
            "What tenant acme has for prepaid balance is not known yet: it has just begun. Try "
            "again in 1s.");
  world.table.explain({name}, Awaited::kStore);
  EXPECT_EQ(world.reserve({.money_max = {1}}).error().message,
            "What tenant acme has for prepaid balance is not known yet: the usage store does not "
            "answer. Try again in 1s.");
  EXPECT_TRUE(world.reserve({}).ok()) << "what costs nothing passes";
  EXPECT_TRUE(world.table.top_up("acme", {5})) << "the records have it too";
  EXPECT_EQ(world.table.balance("acme"), std::nullopt);
  world.table.restore({{name, 0, 70}});
  EXPECT_EQ(world.table.balance("acme"), NanoMoney{70});
  const auto refused = world.reserve({.money_max = {71}});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, LimitRefusal::Kind::kInsufficientQuota);
  EXPECT_EQ(refused.error().dimension, Dimension::kBalance);
  EXPECT_EQ(refused.error().retry_after_ns, std::nullopt);
  EXPECT_TRUE(world.table.top_up("acme", {30}));
  EXPECT_FALSE(world.table.top_up("other", {30}));
  auto reserved = world.reserve({.money_max = {100}});
  ASSERT_TRUE(reserved.ok());
  EXPECT_EQ(world.table.balance("acme"), NanoMoney{0});
  reserved->settle({.money = {40}});
  EXPECT_EQ(world.table.balance("acme"), NanoMoney{60});
  EXPECT_EQ(world.table.balance("other"), std::nullopt);
}

// Else nobody has to look at what runs.
TEST(LimitsSet, AChangeSaysWhetherALimitHoldsMore) {
  World world;
  world.snapshot.tenants.push_back({.id = "other"});
  world.snapshot.projects.push_back({.id = "elsewhere", .tenant = "other"});
  EXPECT_FALSE(world.change().holds_more) << "no limit";
  world.key() = {.requests_per_minute = 10, .tokens_per_day = 100};
  EXPECT_TRUE(world.change().holds_more) << "two that are new";
  world.snapshot.keys[0].labels["team"] = "a";
  EXPECT_FALSE(world.change().holds_more) << "something else";
  world.key().requests_per_minute = 5;
  EXPECT_FALSE(world.change().holds_more) << "another number";
  world.key().tokens_per_day.reset();
  EXPECT_FALSE(world.change().holds_more) << "one less";
  world.tenant() = {.concurrent_streams = 5};
  EXPECT_TRUE(world.change().holds_more);
  world.snapshot.keys[0].project = "elsewhere";
  EXPECT_TRUE(world.change().holds_more) << "others' limits hold for the key";
  world.snapshot.projects[1].tenant = world.snapshot.tenants[0].id;
  EXPECT_TRUE(world.change().holds_more) << "and for the project";
  world.snapshot.keys.pop_back();
  EXPECT_FALSE(world.change().holds_more);
}

TEST(LimitsSet, StateOutlivesSnapshots) {
  World world;
  world.key() = {.requests_per_minute = 10, .tokens_per_day = 100};
  EXPECT_EQ(world.apply().size(), 1u);
  auto reserved = world.reserve(tokens(60, 0));
  ASSERT_TRUE(reserved.ok());
  world.key() = {.requests_per_minute = 20, .tokens_per_day = 70};
  EXPECT_TRUE(world.apply().empty()) << "counted already";
  EXPECT_EQ(world.requests_left(), 19);
  EXPECT_FALSE(world.reserve(tokens(11, 0)).ok());
  reserved->settle({.input_tokens = 10});
  EXPECT_TRUE(world.reserve(tokens(60, 0)).ok());
}

TEST(LimitsSet, ALimitThatIsGoneIsForgottenButNotByWhatIsOpen) {
  World world;
  world.key() = {.requests_per_minute = 10, .tokens_per_day = 100};
  world.apply();
  auto reserved = world.reserve(tokens(60, 0));
  ASSERT_TRUE(reserved.ok());
  const LimitSets before = world.sets;
  world.key() = {};
  world.apply();
  EXPECT_FALSE(rate_limit_headers(world.sets).requests.has_value());
  EXPECT_FALSE(reserve(before, tokens(41, 0)).ok());
  reserved->settle({.input_tokens = 10});
  EXPECT_TRUE(reserve(before, tokens(90, 0)).ok());
  world.key() = {.tokens_per_day = 100};
  EXPECT_EQ(world.apply().size(), 1u) << "to be restored from the records";
}

TEST(LimitsSet, RestoresRecordedUsage) {
  World world;
  world.key() = {.tokens_per_day = 100, .tokens_per_month = 300};
  const auto uncounted = world.apply();
  ASSERT_EQ(uncounted.size(), 2u);
  const int64_t now_unix_ns = world.clock.unix_ns();
  world.table.restore({{uncounted[0], now_unix_ns, 90},
                       {uncounted[0], now_unix_ns - kDayNs, 50},
                       {uncounted[1], now_unix_ns, 140},
                       {{LimitObject::kKey, "gone", Dimension::kTokensPerDay}, now_unix_ns, 5}});
  EXPECT_TRUE(world.reserve(tokens(10, 0)).ok());
  EXPECT_EQ(world.reserve(tokens(11, 0)).error().dimension, Dimension::kTokensPerDay);
}

TEST(LimitsSet, AWithheldQuotaWaitsForTheRecords) {
  World world;
  world.key() = {.tokens_per_minute = 1'000, .tokens_per_day = 100};
  const auto uncounted = world.apply();
  world.table.withhold(uncounted);
  const auto refused = world.reserve(tokens(1, 0));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, LimitRefusal::Kind::kNotKnownYet);
  EXPECT_EQ(refused.error().retry_after_ns, kSecondNs);
  EXPECT_FALSE(would_pass(world.sets, tokens(1, 0)));
  EXPECT_EQ(world.tokens_left(), 1'000) << "what others had taken went back";
  EXPECT_TRUE(world.reserve({}).ok()) << "what uses nothing passes";
  world.key() = {.tokens_per_minute = 1'000, .tokens_per_day = 200};
  EXPECT_TRUE(world.apply().empty());
  EXPECT_FALSE(world.reserve(tokens(1, 0)).ok()) << "another number says nothing of what was used";
  world.table.restore({{uncounted[0], world.clock.unix_ns(), 90}});
  EXPECT_EQ(world.reserve(tokens(111, 0)).error().limit, 200);
  EXPECT_TRUE(world.reserve(tokens(110, 0)).ok());
}

TEST(LimitsSet, WhatRunsCountsInLimitsThatBegin) {
  World world;
  world.key() = {.tokens_per_minute = 1'000};
  world.apply();
  const Demand demand = {
      .input_tokens = 100, .output_tokens_likely = 50, .output_tokens_max = 200, .money_max = {70}};
  const int64_t reserved_unix_ns = world.clock.unix_ns();
  auto runs = world.reserve(demand);
  auto refunded = world.reserve(demand);
  world.clock.advance_ns(kDayNs);
  world.snapshot.tenants[0].prepaid = true;
  world.key() = {.tokens_per_minute = 1'000, .concurrent_streams = 3, .tokens_per_month = 1'000};
  world.model() = {.tokens_per_day = 10, .money_per_month = NanoMoney{500}};
  const auto uncounted = world.apply();
  ASSERT_EQ(uncounted.size(), 4u);
  world.table.withhold(uncounted);
  EXPECT_TRUE(runs->join(world.sets, demand, reserved_unix_ns));
  EXPECT_TRUE(refunded->join(world.sets, demand, reserved_unix_ns));
  EXPECT_TRUE(runs->join(world.sets, demand, reserved_unix_ns))
      << "once, and the records must leave it out while they have not spoken";
  EXPECT_EQ(world.reserve(tokens(1, 0)).error().kind, LimitRefusal::Kind::kNotKnownYet);
  for (const LimitName& name : uncounted)
    world.table.restore(
        {{name, world.clock.unix_ns(), name.dimension == Dimension::kBalance ? 300 : 30}});
  EXPECT_EQ(world.table.balance("acme"), NanoMoney{300 - 2 * 70});
  // Of the month; yesterday's tokens are not today's. (The one per minute asks for 0.)
  const auto month_fits = [&](int64_t input) {
    return world.reserve({.input_tokens = input}).ok();
  };
  world.model() = {.money_per_month = NanoMoney{500}};
  world.apply();
  EXPECT_TRUE(month_fits(1'000 - 30 - 2 * 300));
  EXPECT_FALSE(month_fits(1'000 - 30 - 2 * 300 + 1));
  auto third = world.reserve({});
  EXPECT_TRUE(third.ok());
  EXPECT_FALSE(world.reserve({}).ok()) << "two streams were open before the limit";
  third->refund();
  runs->settle({.input_tokens = 90, .output_tokens = 20, .money = {60}});
  refunded->refund();
  EXPECT_EQ(world.table.balance("acme"), NanoMoney{300 - 60});
  EXPECT_TRUE(month_fits(1'000 - 30 - 110));
  EXPECT_FALSE(month_fits(1'000 - 30 - 110 + 1));
  EXPECT_TRUE(world.reserve({.money_max = {240}}).ok());
  EXPECT_EQ(world.reserve({.money_max = {241}}).error().dimension, Dimension::kBalance);
}

// Whether it fits or not: with what was reserved, with what the answer had outgrown already, with
// what it outgrows from then on; what it does not need comes back.
TEST(LimitsSet, WhatRunsCountsInALimitPerMinuteThatBegins) {
  World world;
  world.apply();
  const Demand demand = {.input_tokens = 100, .output_tokens_likely = 50, .output_tokens_max = 400};
  auto grown = world.reserve(demand);
  auto brief = world.reserve(demand);
  auto unsent = world.reserve(demand);
  grown->outgrow(70);
  world.clock.advance_ns(kMinuteNs);
  world.key() = {.requests_per_minute = 2, .tokens_per_minute = 1'000};
  EXPECT_TRUE(world.apply().empty());
  for (auto* runs : {&grown, &brief, &unsent}) {
    EXPECT_FALSE((*runs)->join(world.sets, demand, 0)) << "nothing that records could say";
    EXPECT_FALSE((*runs)->join(world.sets, demand, 0)) << "and once";
  }
  EXPECT_EQ(world.tokens_left(), 1'000 - 170 - 150 - 150);
  EXPECT_EQ(world.requests_left(), 0);
  EXPECT_EQ(world.reserve({}).error().retry_after_ns, kMinuteNs)
      << "three of two: two must flow by";
  grown->outgrow(90);
  EXPECT_EQ(world.tokens_left(), 1'000 - 190 - 150 - 150);
  unsent->refund();
  EXPECT_EQ(world.tokens_left(), 1'000 - 190 - 150);
  EXPECT_EQ(world.requests_left(), 0) << "two of two run";
  brief->settle({.input_tokens = 100, .output_tokens = 5});
  grown->settle({.input_tokens = 100, .output_tokens = 95});
  EXPECT_EQ(world.tokens_left(), 1'000 - 195 - 105);
}

// What joins before a balance is known counts in it when it is.
TEST(LimitsSet, ABalanceBeginsWithWhatWasAddedBefore) {
  World world;
  world.apply();
  const Demand demand = {.money_max = {70}};
  auto runs = world.reserve(demand);
  world.snapshot.tenants[0].prepaid = true;
  const auto uncounted = world.apply();
  EXPECT_TRUE(runs->join(world.sets, demand, world.clock.unix_ns()));
  runs->settle({.money = {20}});
  world.table.restore({{uncounted[0], 0, 100}});
  EXPECT_EQ(world.table.balance("acme"), NanoMoney{80});
}

TEST(LimitsSet, AsksWithoutTaking) {
  World world;
  world.key() = {.requests_per_minute = 1, .tokens_per_minute = 100, .tokens_per_day = 100};
  world.apply();
  EXPECT_TRUE(would_pass(world.sets, tokens(50, 50)));
  EXPECT_TRUE(would_pass(world.sets, tokens(50, 50)));
  EXPECT_FALSE(would_pass(world.sets, tokens(50, 51)));
  EXPECT_EQ(world.requests_left(), 1);
}

TEST(LimitsSet, HeadersAreOfTheTightest) {
  World world;
  world.key() = {.requests_per_minute = 10, .tokens_per_minute = 1'000};
  world.project() = {.input_tokens_per_minute = 500};
  world.tenant() = {.requests_per_minute = 6};
  world.apply();
  auto reserved = world.reserve(tokens(100, 0));
  const RateLimitHeaders headers = rate_limit_headers(world.sets);
  EXPECT_EQ(headers.requests->limit, 6);
  EXPECT_EQ(headers.requests->remaining, 5);
  EXPECT_EQ(headers.requests->reset_ns, 10 * kSecondNs);
  EXPECT_EQ(headers.tokens->limit, 500);
  EXPECT_EQ(headers.tokens->remaining, 400);
  EXPECT_EQ(headers.tokens->reset_ns, 12 * kSecondNs);
}

TEST(LimitsSet, ForeignNumbersOverflowNothing) {
  World world;
  world.snapshot.tenants[0].prepaid = true;
  world.key() = {.requests_per_minute = INT64_MAX,
                 .tokens_per_minute = INT64_MAX,
                 .tokens_per_day = INT64_MAX,
                 .money_per_month = NanoMoney{INT64_MAX}};
  world.table.restore({{world.apply().front(), 0, 0}});
  for (int i = 0; i < 100; ++i) {
    auto reserved = world.reserve({});
    ASSERT_TRUE(reserved.ok());
    reserved->outgrow(INT64_MAX);
    reserved->settle({.input_tokens = INT64_MAX, .output_tokens = INT64_MAX, .money = {INT64_MAX}});
  }
  EXPECT_LT(world.table.balance("acme"), NanoMoney{0});
  auto reserved = world.reserve({});
  ASSERT_TRUE(reserved.ok());
  reserved->settle({.input_tokens = -1, .output_tokens = INT64_MIN, .money = {INT64_MIN}});
}

TEST(LimitsSet, DurationsAsOpenAiWritesThem) {
  EXPECT_EQ(duration_text(0), "0ms");
  EXPECT_EQ(duration_text(-5), "0ms");
  EXPECT_EQ(duration_text(1), "1ms");
  EXPECT_EQ(duration_text(12'000'000), "12ms");
  EXPECT_EQ(duration_text(kSecondNs), "1s");
  EXPECT_EQ(duration_text(7'660'000'000), "7.66s");
  EXPECT_EQ(duration_text(6 * kMinuteNs), "6m0s");
  EXPECT_EQ(duration_text(kMinuteNs + 30'005'000'000), "1m30.005s");
  EXPECT_EQ(duration_text(61 * kMinuteNs), "1h1m0s");
}

TEST(LimitsPeriod, DaysAndMonths) {
  EXPECT_EQ(period_of(PeriodKind::kDay, -1), 0);
  EXPECT_EQ(period_of(PeriodKind::kMonth, 0), 0);
  for (const PeriodKind kind : {PeriodKind::kDay, PeriodKind::kMonth}) {
    for (int64_t period = 1; period < 1'500; ++period) {
      const int64_t start_ns = period_start_unix_ns(kind, period);
      ASSERT_EQ(period_of(kind, start_ns), period);
      ASSERT_EQ(period_of(kind, start_ns - 1), period - 1);
    }
  }
  EXPECT_EQ(period_start_unix_ns(PeriodKind::kMonth, 12 * 54 + 2), 1'709'251'200 * kSecondNs)
      << "March of 2024, after a leap day";
}

}  // namespace
}  // namespace sluice::gateway
