#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "gateway/metrics/access_log.h"
#include "gateway/metrics/metrics_text.h"

namespace sluice::gateway {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

contract::UsageEvent event() {
  contract::UsageEvent e;
  e.id = {1, 2};
  e.decision = contract::ValveDecision::kRemoteTarget;
  e.target_met = false;
  e.tenant = "acme";
  e.key = "key_1";
  e.model = "m\"x";
  e.ttft_ns = 30'000'000;
  e.tpot_ns = 2'000'000;
  e.total_ns = 1'500'000'000;
  contract::UsageLine line;
  line.replica = "r1";
  line.unit = contract::Unit::kOutputToken;
  line.quantity = 7;
  line.amount = {250'000'000};
  e.lines = {line};
  return e;
}

TEST(Metrics, SumsOverLoopsWhatTheirEventsSay) {
  LoopMetrics first, second;
  first.count(event());
  first.count(event());
  contract::UsageEvent dear = event();
  dear.lines[0].amount = {749'999'999'500'000'001};  // no double holds the sum
  second.count(dear);
  second.limits_refused[static_cast<size_t>(Dimension::kTokensPerDay)].add();
  const LoopMetrics* loops[] = {&first, &second};
  const std::string text = metrics_text(
      {.loops = loops,
       .pools = {{.pool = "own", .streams = 3},
                 {.pool = "rented", .streams = 7, .streams_max = 48, .tokens_remaining = 9000}},
       .valves = {{.model = "m", .open = true, .saturation = 0.75, .q = {0.5, 0.5, 0.98}}},
       .ledger_lag_records = 12,
       .ledger_faults = 2,
       .journal_bytes = 1 << 26});
  for (const char* line : {
           R"(sluice_gateway_requests_total{model="m\"x",outcome="complete"} 3)",
           R"(sluice_gateway_usage_total{model="m\"x",unit="output_token"} 21)",
           R"(sluice_gateway_valve_decisions_total{model="m\"x",decision="remote_target"} 3)",
           R"(sluice_gateway_target_missed_total{model="m\"x"} 3)",
           R"(sluice_gateway_money_nano_total{model="m\"x",side="sale"} 750000000000000001)",
           R"(sluice_gateway_ttft_seconds_bucket{model="m\"x",le="0.025"} 0)",
           R"(sluice_gateway_ttft_seconds_bucket{model="m\"x",le="0.05"} 3)",
           R"(sluice_gateway_ttft_seconds_count{model="m\"x"} 3)",
           R"(sluice_gateway_request_seconds_sum{model="m\"x"} 4.5)",
           R"(sluice_gateway_limits_refused_total{limit="tokens_per_day"} 1)",
           "sluice_gateway_ledger_lag_records 12",
           "sluice_gateway_ledger_faults 2",
           "sluice_gateway_journal_bytes 67108864",
           R"(sluice_gateway_pool_streams{pool="own"} 3)",
           R"(sluice_gateway_pool_streams{pool="rented"} 7)",
           R"(sluice_gateway_pool_streams_max{pool="rented"} 48)",
           R"(sluice_gateway_pool_tokens_remaining{pool="rented"} 9000)",
           R"(sluice_gateway_valve_open{model="m"} 1)",
           R"(sluice_gateway_valve_saturation{model="m"} 0.75)",
           R"(sluice_gateway_valve_q{model="m",statistic="p99"} 0.98)",
       })
    EXPECT_THAT(text, HasSubstr(std::string(line) + "\n"));
  EXPECT_THAT(text, Not(HasSubstr(R"(sluice_gateway_pool_streams_max{pool="own"})")));
}

TEST(Metrics, AScrapeBesideACountingLoopSeesWholeNumbers) {
  LoopMetrics metrics;
  const LoopMetrics* loops[] = {&metrics};
  std::thread loop([&] {
    contract::UsageEvent e = event();
    for (int i = 0; i < 2000; ++i) {
      e.model = "m" + std::to_string(i % 50);
      metrics.count(e);
    }
  });
  for (int i = 0; i < 20; ++i) metrics_text({.loops = loops});
  loop.join();
  int64_t sum = 0;
  metrics.for_each_model(
      [&](std::string_view, const ModelMetrics& m) { sum += m.requests[0].value(); });
  EXPECT_EQ(sum, 2000);
}

TEST(Metrics, ModelsOverTheLimitAreCountedTogether) {
  LoopMetrics metrics;
  contract::UsageEvent e = event();
  for (size_t i = 0; i < LoopMetrics::kModelsMax + 10; ++i) {
    e.model = std::to_string(i);
    metrics.count(e);
  }
  size_t models = 0;
  int64_t other = 0;
  metrics.for_each_model([&](std::string_view id, const ModelMetrics& m) {
    ++models;
    if (id == "other") other = m.requests[0].value();
  });
  EXPECT_EQ(models, LoopMetrics::kModelsMax + 1);
  EXPECT_EQ(other, 10);
}

TEST(Dashboard, NamesOnlyMetricsThatAreExported) {
  LoopMetrics metrics;
  metrics.count(event());
  const LoopMetrics* loops[] = {&metrics};
  const std::string text =
      metrics_text({.loops = loops,
                    .replicas = {{.replica = "r"}},
                    .pools = {{.pool = "p", .streams_max = 1, .tokens_remaining = 1}},
                    .valves = {{.model = "m"}}});
  std::set<std::string> exported;
  const std::regex sample(R"(^([a-z_]+)[ {])", std::regex::multiline);
  for (std::sregex_iterator it(text.begin(), text.end(), sample), end; it != end; ++it)
    exported.insert((*it)[1]);
  std::ifstream file("deploy/grafana/sluice-gateway.json");
  const json dashboard = json::parse(file);
  const std::regex name(R"(\b(?:sluice_|process_)[a-z_]+)");
  std::set<std::string> shown;
  for (const json& panel : dashboard["panels"])
    for (const json& target : panel["targets"]) {
      const std::string expression = target["expr"];
      std::sregex_iterator it(expression.begin(), expression.end(), name), end;
      EXPECT_NE(it, end) << expression;
      for (; it != end; ++it) {
        shown.insert(it->str());
        EXPECT_THAT(exported, Contains(it->str())) << panel["title"];
      }
    }
  EXPECT_GT(shown.size(), 20u);
}

TEST(AccessLog, IsOneLineOfJsonWithTheSumsOfTheLines) {
  std::string out;
  append_access_line(event(),
                     {.remote_address = "::1", .client_request_id = "a\nb", .trace_id = ""}, &out);
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 1);
  const json line = json::parse(out);
  EXPECT_EQ(line["key"], "key_1");
  EXPECT_EQ(line["output_token"], 7);
  EXPECT_EQ(line["amount"], "0.25");
  EXPECT_EQ(line["decision"], "remote_target");
  EXPECT_EQ(line["client_request_id"], "a\nb");
  EXPECT_EQ(line["ttft_us"], 30'000);
  EXPECT_EQ(line["replicas"], json({"r1"}));
}

}  // namespace
}  // namespace sluice::gateway
