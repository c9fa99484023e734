// The shipped scenarios and what they must show.
#include "simulate/scenario.h"

#include <fstream>
#include <sstream>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "simulate/report.h"

namespace sluice::simulate {
namespace {

using ::testing::HasSubstr;

constexpr double kCostMax = 1.1;  // of the oracle's

core::Result<std::string> no_file(const std::string& path) {
  return core::invalid("there is no {}", path);
}

Scenario shipped(const std::string& name) {
  std::ifstream file(std::string(SLUICE_TESTS_DIR) + "/../deploy/scenarios/" + name + ".toml");
  std::ostringstream text;
  text << file.rdbuf();
  auto scenario = parse_scenario(text.str(), name, no_file);
  EXPECT_TRUE(scenario.ok()) << (scenario.ok() ? "" : scenario.error().message);
  return scenario.ok() ? *scenario : Scenario{};
}

class Shown {
 public:
  explicit Shown(const std::string& name) {
    const auto figures = simulate(shipped(name));
    EXPECT_TRUE(figures.ok()) << (figures.ok() ? "" : figures.error().message);
    if (figures.ok()) figures_ = figures.value();
  }
  const Figures& of(const std::string& case_name, Arm arm) const {
    for (const Figures& f : figures_)
      if (f.case_name == case_name && f.arm == arm) return f;
    ADD_FAILURE() << "no " << case_name << " " << to_text(arm);
    static const Figures kNone;
    return kNone;
  }

 private:
  std::vector<Figures> figures_;
};

// Of a request that went remote, among those that arrived within this time.
double cost_per_remote(const Figures& figures, double from_s, double to_s) {
  double cost = 0.0;
  double remote = 0.0;
  for (const Figures::Bucket& bucket : figures.buckets) {
    if (bucket.from_s < from_s || bucket.from_s >= to_s) continue;
    cost += bucket.cost;
    remote += bucket.remote_share * static_cast<double>(bucket.requests);
  }
  return cost / remote;
}

// Published: 42 s at low load; the appliance alone 72 s at 60 streams and over 300 s at 100; with a
// limited remote about 45 and 75 s. The target is 47 s.
TEST(burst, is_the_published_case_and_the_valve_keeps_the_target) {
  const Shown burst("burst");
  EXPECT_NEAR(burst.of("low", Arm::kLocalOnly).total_s.mean, 42.0, 4.2);
  EXPECT_NEAR(burst.of("60", Arm::kLocalOnly).total_s.mean, 72.0, 7.2);
  EXPECT_GT(burst.of("100", Arm::kLocalOnly).total_s.mean, 300.0);
  EXPECT_LE(burst.of("low", Arm::kValve).remote_share, 0.02) << "local compute first";
  for (const std::string name : {"60", "100"}) {
    const Figures& valve = burst.of(name, Arm::kValve);
    const Figures& oracle = burst.of(name, Arm::kOracle);
    EXPECT_GE(valve.met_share, 0.99) << name;
    EXPECT_GE(oracle.met_share, 0.99) << name;
    EXPECT_LE(valve.cost, kCostMax * oracle.cost) << name;
    EXPECT_LT(valve.cost, burst.of(name, Arm::kAllRemote).cost) << name;
    EXPECT_LT(burst.of(name, Arm::kOverflow).met_share, 0.6) << "429 comes too late to keep it";
  }
  EXPECT_LE(burst.of("60-limited", Arm::kValve).total_s.mean, 47.0);
  EXPECT_LE(burst.of("100-limited", Arm::kValve).total_s.mean, 76.0);
  EXPECT_LE(burst.of("100-limited", Arm::kValve).total_s.p99, 76.0);
}

// The published case's remote, bounded by its pool in place of its replica: the same 48 streams.
TEST(capacity, of_a_pool_bounds_every_arm_like_that_of_its_replica) {
  Scenario scenario = shipped("burst");
  std::erase_if(scenario.cases, [](const Case& one) { return one.name != "100-limited"; });
  scenario.cases[0].traffic[0].to_s = 600;
  scenario.arms = {Arm::kOverflow, Arm::kAllRemote, Arm::kValve, Arm::kOracle};
  const auto by_replica = simulate(scenario);
  ASSERT_EQ(scenario.snapshot.replicas[2].id, "limited-0");
  scenario.snapshot.replicas[2].speed.streams_max = 64;
  scenario.engines[2].busy_at = 0;
  const auto unbounded = simulate(scenario);
  ASSERT_EQ(scenario.snapshot.pools[2].id, "limited");
  scenario.snapshot.pools[2].capacity.streams_max = 48;
  const auto by_pool = simulate(scenario);
  ASSERT_TRUE(by_replica.ok() && unbounded.ok() && by_pool.ok());
  for (size_t i = 0; i < scenario.arms.size(); ++i) {
    SCOPED_TRACE(to_text(scenario.arms[i]));
    EXPECT_NEAR(by_pool.value()[i].cost, by_replica.value()[i].cost,
                0.03 * by_replica.value()[i].cost);
    EXPECT_NEAR(by_pool.value()[i].total_s.mean, by_replica.value()[i].total_s.mean, 2.0);
    if (scenario.arms[i] == Arm::kOverflow) continue;  // 40 overflow: all find a place
    EXPECT_GT(unbounded.value()[i].cost, 1.1 * by_pool.value()[i].cost);
  }
}

// So many tokens a minute from the cheaper remote, and the rest from the dearer one.
TEST(capacity, of_tokens_a_minute_is_used_and_not_passed) {
  Scenario scenario = shipped("price");
  scenario.arms = {Arm::kValve};
  scenario.cases[0].traffic[0].to_s = 600;  // before the price changes
  constexpr int64_t kPerMinute = 30'000;
  scenario.snapshot.pools[1].capacity.tokens_per_minute = kPerMinute;
  const auto figures = simulate(scenario);
  ASSERT_TRUE(figures.ok());
  const Figures& valve = figures.value()[0];
  EXPECT_GE(valve.met_share, 0.99);
  EXPECT_EQ(valve.refused, 0);
  const auto unbounded = [&] {
    scenario.snapshot.pools[1].capacity = {};
    return simulate(scenario).value()[0];
  }();
  EXPECT_GT(valve.cost, 1.05 * unbounded.cost) << "a part comes from the dearer one";
  // At the cheap price all that the minutes hold, and what was saved up before.
  const double dear = 1.5 * unbounded.cost;
  EXPECT_LT(valve.cost, dear);
}

// The limits' own code stands before every arm: what a key may not have, no arm computes.
TEST(limits, hold_in_every_arm) {
  const auto limited = [](const contract::Limits& limits) {
    Scenario scenario = shipped("surge");
    scenario.arms = {Arm::kAllRemote, Arm::kValve};
    scenario.cases[0].traffic[0].to_s = scenario.cases[0].traffic[2].to_s = 720;
    scenario.snapshot.keys[0].limits = limits;
    const auto figures = simulate(scenario);
    EXPECT_TRUE(figures.ok());
    return figures.value();
  };
  for (const Figures& arm : limited({})) EXPECT_EQ(arm.limited, 0);
  for (const Figures& arm : limited({.requests_per_minute = 120})) {
    EXPECT_GT(arm.limited, 100) << "7.5 a second come in the surge";
    EXPECT_LE(arm.requests, 12 * 120 + 120) << "twelve minutes, and what was saved up";
  }
  for (const Figures& arm : limited({.concurrent_streams = 1})) {
    EXPECT_LT(static_cast<double>(arm.requests) * arm.total_s.mean, 720.0 + arm.total_s.p99);
    EXPECT_GT(arm.limited, 100);
  }
}

TEST(surge, five_times_as_much_within_ten_seconds) {
  const Shown surge("surge");
  const Figures& valve = surge.of("surge", Arm::kValve);
  EXPECT_GE(valve.met_share, 0.99);
  EXPECT_EQ(valve.refused, 0);
  EXPECT_LE(valve.cost, kCostMax * surge.of("surge", Arm::kOracle).cost);
  EXPECT_LT(surge.of("surge", Arm::kLocalOnly).met_share, 0.9);
  EXPECT_LT(surge.of("surge", Arm::kOverflow).met_share, 0.9);
}

TEST(degrade, a_remote_that_becomes_slow_is_left_and_found_again) {
  const Shown degrade("degrade");
  const Figures& valve = degrade.of("degrade", Arm::kValve);
  EXPECT_GE(valve.met_share, 0.99);
  EXPECT_LT(degrade.of("degrade", Arm::kAllRemote).met_share, 0.8);
  EXPECT_LE(valve.cost, kCostMax * degrade.of("degrade", Arm::kOracle).cost);
  // Twice as much while the cheap one is slow, the old price again after its return.
  EXPECT_NEAR(cost_per_remote(valve, 1200, 1800) / cost_per_remote(valve, 0, 840), 2.0, 0.3);
  EXPECT_NEAR(cost_per_remote(valve, 2400, 2700) / cost_per_remote(valve, 0, 840), 1.0, 0.15);
}

TEST(price, the_valve_follows_a_price_from_its_second_on) {
  const Shown price("price");
  const Figures& valve = price.of("price", Arm::kValve);
  EXPECT_GE(valve.met_share, 0.99);
  EXPECT_LE(valve.cost, kCostMax * price.of("price", Arm::kOracle).cost);
  EXPECT_NEAR(cost_per_remote(valve, 900, 1800) / cost_per_remote(valve, 0, 900), 1.5, 0.15)
      << "the other remote's price, not three times the old one";
}

// What nobody has tuned for: other arrivals and lengths, more of them, an engine that is slower or
// faster than the gateway is told. bench/gateway/valve_spread.py shows more of it.
TEST(unseen, seeds_and_engines_keep_the_target_at_the_oracles_cost) {
  for (const char* name : {"surge", "price", "degrade"}) {
    for (const auto& [seed, more_arrivals, slower] :
         {std::tuple{1, 1.0, 1.0}, {2, 1.3, 1.0}, {3, 1.0, 1.3}, {4, 1.0, 0.85}, {5, 0.9, 1.0}}) {
      Scenario scenario = shipped(name);
      scenario.seed = static_cast<uint64_t>(seed);
      scenario.arms = {Arm::kValve, Arm::kOracle};
      for (Traffic& traffic : scenario.cases[0].traffic) traffic.rate_per_s *= more_arrivals;
      for (size_t i = 0; i < scenario.engines.size(); ++i) {
        if (scenario.snapshot.replicas[i].pool != "own") continue;
        scenario.engines[i].step_ns *= slower;
        scenario.engines[i].step_stream_ns *= slower;
        scenario.engines[i].prompt_token_ns *= slower;
      }
      const auto figures = simulate(scenario);
      ASSERT_TRUE(figures.ok());
      SCOPED_TRACE(testing::Message() << name << " seed " << seed << " arrivals x " << more_arrivals
                                      << " engine times x " << slower);
      EXPECT_GE(figures.value()[0].met_share, 0.99);
      EXPECT_LE(figures.value()[0].cost, kCostMax * figures.value()[1].cost);
    }
  }
}

// A mean or a median is kept where it is meant, at less than what 99 of 100 cost.
TEST(statistics, of_a_target_are_kept_each_in_its_own_sense) {
  Scenario scenario = shipped("surge");
  scenario.arms = {Arm::kValve};
  const auto with = [&](contract::Statistic statistic) {
    contract::Target& target = *scenario.snapshot.models[0].defaults.target;
    target.ttft.statistic = target.tpot.statistic = statistic;
    return simulate(scenario).value()[0];
  };
  const Figures mean = with(contract::Statistic::kMean);
  const Figures median = with(contract::Statistic::kP50);
  const Figures p99 = with(contract::Statistic::kP99);
  EXPECT_LE(mean.ttft_s.mean, 2.0);
  EXPECT_LE(mean.tpot_s.mean, 0.06);
  EXPECT_LE(median.ttft_s.p50, 2.0);
  EXPECT_LE(median.tpot_s.p50, 0.06);
  EXPECT_GE(p99.met_share, 0.99);
  EXPECT_LT(mean.met_share, 0.99) << "more is not asked for";
  EXPECT_LT(mean.cost, 0.98 * p99.cost);
  EXPECT_LT(median.cost, 0.98 * p99.cost);
}

TEST(day, ten_to_one) {
  Scenario scenario = shipped("day");
  scenario.arms = {Arm::kValve, Arm::kOracle};
  const auto figures = simulate(scenario);
  ASSERT_TRUE(figures.ok());
  const Figures& valve = figures.value()[0];
  EXPECT_GT(valve.requests, 100'000);
  EXPECT_GE(valve.met_share, 0.99);
  EXPECT_LE(valve.cost, kCostMax * figures.value()[1].cost);
  EXPECT_EQ(valve.buckets.front().remote_share, 0.0) << "nothing overflows at night";
}

TEST(simulate, is_the_same_from_the_same_seed) {
  Scenario scenario = shipped("surge");
  scenario.arms = {Arm::kValve};
  const auto once = simulate(scenario);
  const auto again = simulate(scenario);
  ASSERT_TRUE(once.ok() && again.ok());
  EXPECT_EQ(to_csv(*once), to_csv(*again));
  scenario.seed += 1;
  EXPECT_NE(to_csv(*once), to_csv(simulate(scenario).value()));
}

TEST(simulate, writes_json_csv_and_svg) {
  Scenario scenario = shipped("price");
  const auto figures = simulate(scenario);
  ASSERT_TRUE(figures.ok());
  EXPECT_THAT(to_json(scenario, *figures), HasSubstr("\"met_share\""));
  EXPECT_THAT(to_csv(*figures), HasSubstr("price,valve,960"));
  EXPECT_THAT(to_svg(scenario, *figures), HasSubstr("<polyline"));
  EXPECT_THAT(to_table(scenario, *figures), HasSubstr("all_remote"));
}

TEST(parse_scenario, says_what_is_wrong_and_where) {
  const auto message = [](std::string_view toml) {
    const auto scenario = parse_scenario(toml, "x.toml", no_file);
    return scenario.ok() ? std::string("fine") : scenario.error().message;
  };
  EXPECT_THAT(message("a = "), HasSubstr("x.toml"));
  EXPECT_THAT(message("nmae = 'x'"), HasSubstr("unknown key 'nmae'"));
  EXPECT_THAT(message("arms = ['valv']"), HasSubstr("known: local_only, overflow_on_429"));
  EXPECT_THAT(message("arms = ['valve']"), HasSubstr("no [[cases]]"));
  EXPECT_THAT(message("[[cases]]\nname='c'\nreplicas=['r']"), HasSubstr("no replica 'r'"));
  EXPECT_THAT(message("wait_max_s = -1"), HasSubstr("no number of 0 or more"));
  EXPECT_THAT(message("[[slowdowns]]\nreplica='r'\n"), HasSubstr("no replica 'r'"));
  EXPECT_THAT(message("[[replicas]]\n[replicas.engine]\nbench='b.json'"),
              HasSubstr("'bench' is 'b.json': there is no b.json"));
  EXPECT_THAT(message("[[costs]]\noutput='cheap'"), HasSubstr("no amount"));
}

TEST(distribution, of_known_values) {
  std::vector<double> values;
  for (int i = 1; i <= 100; ++i) values.push_back(i);
  const Distribution d = distribution_of(values);
  EXPECT_DOUBLE_EQ(d.mean, 50.5);
  EXPECT_DOUBLE_EQ(d.p50, 50.0);
  EXPECT_DOUBLE_EQ(d.p99, 99.0);
  EXPECT_EQ(distribution_of({}).p99, 0.0);
}

}  // namespace
}  // namespace sluice::simulate
