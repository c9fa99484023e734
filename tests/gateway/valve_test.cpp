#include "gateway/routing/valve.h"

#include <gtest/gtest.h>

#include "core/rng.h"
#include "gateway/routing/valve_state.h"

namespace sluice::gateway {
namespace {

using contract::DataClass;
using contract::Place;
using contract::Policy;
using contract::Statistic;
using contract::ValveDecision;
using Kind = ValveAnswer::Kind;

constexpr int64_t kSecond = 1'000'000'000;

contract::Pool pool_of(Place place) {
  contract::Pool pool;
  pool.id = place == Place::kLocal ? "own" : "rented";
  pool.place = place;
  if (place == Place::kRemote) {
    pool.owner = "cloud";
    pool.data_classes = {DataClass::kPublic, DataClass::kInternal};
  }
  return pool;
}

// Answers of 100 tokens: 2 s alone, 7.3 s at 63 streams. Spreads of 5 %.
Candidate candidate_of(const contract::Pool& pool, int64_t streams) {
  contract::Speed speed;
  const TpotSurface surface(speed);
  Candidate candidate;
  candidate.pool = &pool;
  candidate.view.prefill_tokens_per_s = 10'000.0;
  candidate.view.streams = streams;
  candidate.view.streams_max = speed.streams_max;
  candidate.view.output_tokens_left = streams * 50;
  candidate.view.tpot_next_ns = surface.at_ns(static_cast<double>(streams + 1));
  candidate.view.tpot_full_ns = surface.at_ns(64);
  candidate.view.ttft.variance = candidate.view.tpot.variance = 0.0025F;
  candidate.view.total.variance = 0.0025F;
  candidate.cost.nano = pool.place == Place::kRemote ? 100 : 0;
  candidate.sale.nano = candidate.cost.nano;
  return candidate;
}

RouteFacts facts_of(int64_t total_ns) {
  RouteFacts facts;
  facts.tokens = {100, 100, 100};
  facts.target.total = {total_ns, Statistic::kP99};
  return facts;
}

class Valve : public ::testing::Test {
 protected:
  ValveAnswer ask(const RouteFacts& facts, std::vector<Candidate> candidates,
                  ValveView valve = {}) const {
    return decide({&facts, candidates, valve, 0, 12345});
  }
  const contract::Pool own_ = pool_of(Place::kLocal);
  const contract::Pool rented_ = pool_of(Place::kRemote);
};

TEST_F(Valve, local_while_it_meets_the_target_else_the_cheapest_remote_that_does) {
  const RouteFacts facts = facts_of(4 * kSecond);
  auto answer = ask(facts, {candidate_of(own_, 2), candidate_of(rented_, 0)});
  EXPECT_EQ(answer.kind, Kind::kSend);
  EXPECT_EQ(answer.candidate, 0);
  EXPECT_EQ(answer.reason, ValveDecision::kLocal);
  ASSERT_TRUE(answer.local);
  EXPECT_EQ(answer.local->went, LocalChance::Went::kLocal);

  Candidate dear = candidate_of(rented_, 0);
  dear.cost.nano = 1000;
  answer = ask(facts, {candidate_of(own_, 60), dear, candidate_of(rented_, 4)});
  EXPECT_EQ(answer.candidate, 2) << "cheaper, and in time";
  EXPECT_EQ(answer.reason, ValveDecision::kRemoteTarget);
  EXPECT_EQ(answer.local->went, LocalChance::Went::kElsewhere);

  answer = ask(facts, {candidate_of(own_, 60), dear, candidate_of(rented_, 40)});
  EXPECT_EQ(answer.candidate, 1) << "the cheaper one would be late";
}

TEST_F(Valve, q_decides_at_the_edge) {
  const RouteFacts facts = facts_of(4 * kSecond);
  int64_t streams = 0;
  const auto goes_local = [&](double allowed) {
    ValveView valve;
    valve.miss_allowed.fill(allowed);
    return ask(facts, {candidate_of(own_, streams), candidate_of(rented_, 0)}, valve).candidate ==
           0;
  };
  while (goes_local(1.0)) ++streams;
  EXPECT_GT(streams, 2);
  EXPECT_TRUE(goes_local(20.0)) << "q 0.8";
  --streams;
  EXPECT_FALSE(goes_local(0.1)) << "q 0.999";
}

TEST_F(Valve, late_then_waiting_then_no) {
  RouteFacts facts = facts_of(kSecond);  // nobody meets this
  auto answer = ask(facts, {candidate_of(own_, 2), candidate_of(rented_, 0)});
  EXPECT_EQ(answer.candidate, 0) << "late, and for nothing";
  answer = ask(facts, {candidate_of(own_, 64), candidate_of(rented_, 3)});
  EXPECT_EQ(answer.candidate, 1);
  answer = ask(facts, {candidate_of(own_, 64), candidate_of(rented_, 64)});
  EXPECT_EQ(answer.kind, Kind::kRefuse);
  EXPECT_EQ(answer.refusal, Refusal::kSaturated);
  EXPECT_GT(answer.retry_after_ns, 0);
  facts.deadline_ns = answer.retry_after_ns;
  EXPECT_EQ(ask(facts, {candidate_of(own_, 64), candidate_of(rented_, 64)}).kind, Kind::kWait);
  facts.deadline_ns -= 1;
  EXPECT_EQ(ask(facts, {candidate_of(own_, 64), candidate_of(rented_, 64)}).kind, Kind::kRefuse);
}

TEST_F(Valve, what_has_no_target_overflows_while_the_valve_is_open) {
  RouteFacts facts = facts_of(0);
  ValveView open;
  open.open = true;
  EXPECT_EQ(ask(facts, {candidate_of(own_, 60), candidate_of(rented_, 0)}).candidate, 0);
  const auto answer = ask(facts, {candidate_of(own_, 50), candidate_of(rented_, 0)}, open);
  EXPECT_EQ(answer.candidate, 1);
  EXPECT_EQ(answer.reason, ValveDecision::kRemoteSaturated);
  EXPECT_FALSE(answer.local) << "nothing is learnt where nothing was promised";
  EXPECT_EQ(ask(facts, {candidate_of(own_, 50), candidate_of(rented_, 64)}, open).candidate, 0)
      << "no room there: local has";
}

TEST_F(Valve, a_conversation_comes_home_when_that_is_no_slower) {
  RouteFacts facts = facts_of(0);
  facts.tokens.prompt_tokens = 5000;  // 500 ms to compute anew
  Candidate remote = candidate_of(rented_, 0);
  remote.home = true;
  remote.cached_tokens = 4900;
  remote.view.round_trip_ns = 100'000'000;
  EXPECT_EQ(ask(facts, {candidate_of(own_, 0), remote}).candidate, 1);
  remote.view.round_trip_ns = 600'000'000;
  EXPECT_EQ(ask(facts, {candidate_of(own_, 0), remote}).candidate, 0);
  remote.view.round_trip_ns = 100'000'000;
  remote.home = false;
  EXPECT_EQ(ask(facts, {candidate_of(own_, 0), remote}).candidate, 0);
}

TEST_F(Valve, the_budget_bounds_remotes) {
  RouteFacts facts = facts_of(4 * kSecond);
  facts.budget_left = contract::NanoMoney{99};
  const auto answer = ask(facts, {candidate_of(own_, 64), candidate_of(rented_, 0)});
  EXPECT_EQ(answer.kind, Kind::kRefuse);
  EXPECT_EQ(answer.refusal, Refusal::kBudget);
  facts.budget_left = contract::NanoMoney{100};
  EXPECT_EQ(ask(facts, {candidate_of(own_, 64), candidate_of(rented_, 0)}).candidate, 1);
}

TEST_F(Valve, policies) {
  RouteFacts facts = facts_of(0);
  Candidate fast = candidate_of(rented_, 0);
  fast.view.tpot_next_ns /= 2;
  facts.policy = Policy::kFastest;
  auto answer = ask(facts, {candidate_of(own_, 0), fast});
  EXPECT_EQ(answer.candidate, 1);
  EXPECT_EQ(answer.reason, ValveDecision::kRemotePolicy);
  facts.policy = Policy::kCheapest;
  EXPECT_EQ(ask(facts, {candidate_of(own_, 0), fast}).candidate, 0);
  Candidate paid = candidate_of(own_, 0);
  paid.cost.nano = 200;
  EXPECT_EQ(ask(facts, {paid, fast}).candidate, 1);
  facts.policy = Policy::kLocalOnly;
  EXPECT_EQ(ask(facts, {candidate_of(own_, 0), fast}).reason, ValveDecision::kLocalForced);
  EXPECT_EQ(ask(facts, {candidate_of(own_, 0)}).reason, ValveDecision::kLocal);
}

TEST_F(Valve, says_why_not) {
  RouteFacts facts = facts_of(0);
  EXPECT_EQ(ask(facts, {}).refusal, Refusal::kNoReplica);
  facts.data_class = DataClass::kPrivate;
  EXPECT_EQ(ask(facts, {candidate_of(rented_, 0)}).refusal, Refusal::kForbidden);
  facts.data_class = DataClass::kInternal;
  Candidate out = candidate_of(rented_, 0);
  out.out = true;
  EXPECT_EQ(ask(facts, {out}).refusal, Refusal::kNoReplica);
  EXPECT_EQ(ask(facts, {out, candidate_of(rented_, 0)}).reason, ValveDecision::kRemoteNoLocal);
}

// The property: whatever the load, the policy, the target and the prices, local-only requests and
// private data are never sent to a remote. A remote pool that claims private data changes nothing.
TEST(valve_property, local_only_and_private_never_leave) {
  const uint64_t seed = 20261122;
  SCOPED_TRACE(seed);
  core::Rng rng(seed);
  contract::Pool pools[] = {pool_of(Place::kLocal), pool_of(Place::kRemote),
                            pool_of(Place::kRemote)};
  pools[2].data_classes = {DataClass::kPublic, DataClass::kInternal, DataClass::kPrivate};
  int64_t remotes = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<Candidate> candidates;
    for (int64_t i = rng.below(6); i >= 0; --i) {
      Candidate candidate = candidate_of(pools[rng.below(3)], rng.below(70));
      candidate.out = rng.below(5) == 0;
      candidate.home = rng.below(3) == 0;
      candidate.cached_tokens = rng.below(100);
      candidate.cost.nano = rng.below(3);
      candidate.view.news_age_ns = rng.below(2) * kSecond;
      candidate.view.ready_in_ns = rng.below(10) == 0 ? kSecond : 0;
      candidates.push_back(candidate);
    }
    RouteFacts facts = facts_of(rng.below(3) * 2 * kSecond);
    facts.policy = static_cast<Policy>(rng.below(4));
    facts.data_class = static_cast<DataClass>(rng.below(3));
    facts.deadline_ns = rng.below(2) * 100 * kSecond;
    ValveView valve;
    valve.open = rng.below(2) == 0;
    valve.miss_allowed.fill(rng.unit() * 20);
    const ValveAnswer answer = decide({&facts, candidates, valve, 0, rng.bits()});
    if (answer.kind != Kind::kSend) continue;
    const auto& chosen = candidates[static_cast<size_t>(answer.candidate)];
    if (chosen.pool->place != Place::kRemote) continue;
    ++remotes;
    ASSERT_NE(facts.policy, Policy::kLocalOnly) << round;
    ASSERT_NE(facts.data_class, DataClass::kPrivate) << round;
  }
  EXPECT_GT(remotes, 1000) << "the property was hardly asked";
}

// ---- what the valve learns ------------------------------------------------------------------

TEST(valve_state, opens_when_saturated_and_closes_after_ten_quiet_seconds) {
  ValveState state;
  state.on_saturation(0.99, 0);
  EXPECT_FALSE(state.view().open);
  state.on_saturation(1.0, 1);
  EXPECT_TRUE(state.view().open);
  state.on_saturation(0.7, kSecond);
  state.on_saturation(0.7, 10 * kSecond);
  EXPECT_TRUE(state.view().open);
  state.on_saturation(0.8, 10 * kSecond + 1);
  state.on_saturation(0.6, 11 * kSecond);
  state.on_saturation(0.6, 20 * kSecond);
  EXPECT_TRUE(state.view().open) << "0.8 between began the ten seconds anew";
  state.on_saturation(0.6, 21 * kSecond);
  EXPECT_FALSE(state.view().open);
}

TEST(valve_state, q_comes_to_rest_where_two_fifths_of_the_allowed_misses_happen) {
  const uint64_t seed = 3;
  SCOPED_TRACE(seed);
  core::Rng rng(seed);
  ValveState state;
  int64_t missed = 0;
  constexpr int kRequests = 20'000;
  for (int i = 0; i < kRequests; ++i) {
    // Predictions are too dark by a factor of three: what is expected to miss with p misses with
    // p / 3. All decisions are at the edge.
    const double expected = state.view().miss_allowed[static_cast<size_t>(Statistic::kP99)];
    const bool misses = rng.unit() < expected * 0.01 / 3;
    missed += misses ? 1 : 0;
    state.on_outcome({Statistic::kP99, expected, LocalChance::Went::kLocal},
                     misses ? Met::kNo : Met::kYes);
  }
  EXPECT_NEAR(static_cast<double>(missed) / kRequests, 0.004, 0.0015);
}

TEST(valve_state, easy_requests_open_it_so_far_and_no_further) {
  ValveState state;
  for (int i = 0; i < 10'000; ++i)
    state.on_outcome({Statistic::kP99, 1e-6, LocalChance::Went::kLocal}, Met::kYes);
  EXPECT_NEAR(state.view().q(Statistic::kP99), 0.92, 0.005) << "eight times one in a hundred";
  state.on_outcome({Statistic::kP99, 1e-6, LocalChance::Went::kLocal}, Met::kNo);
  state.on_outcome({Statistic::kP99, 1e-6, LocalChance::Went::kLocal}, Met::kNo);
  EXPECT_GT(state.view().q(Statistic::kP99), 0.985);
  for (int i = 0; i < 10'000; ++i)
    state.on_outcome({Statistic::kP50, 1e-6, LocalChance::Went::kLocal}, Met::kYes);
  EXPECT_NEAR(state.view().q(Statistic::kP50), 0.5, 0.01);
}

TEST(valve_state, what_went_elsewhere_and_missed_says_nothing_of_local_compute) {
  ValveState state;
  for (int i = 0; i < 1000; ++i) {
    state.on_outcome({Statistic::kP99, 2.0, LocalChance::Went::kElsewhere}, Met::kNo);
    state.on_outcome({Statistic::kP99, 99.0, LocalChance::Went::kElsewhere}, Met::kYes);
  }
  EXPECT_NEAR(state.view().q(Statistic::kP99), 0.99, 1e-9);
}

TEST(local_saturation, weighs_by_capacity) {
  const contract::Pool own = pool_of(Place::kLocal);
  const contract::Pool rented = pool_of(Place::kRemote);
  Candidate small = candidate_of(own, 4);
  small.view.streams_max = 4;
  const Candidate large = candidate_of(own, 16);
  const Candidate remote = candidate_of(rented, 64);
  EXPECT_NEAR(local_saturation(std::vector{small, large, remote}), (4.0 + 16.0) / 68.0, 0.01);
  EXPECT_EQ(local_saturation(std::vector{remote}), 0.0);
}

}  // namespace
}  // namespace sluice::gateway
