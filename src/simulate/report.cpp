#include "simulate/report.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace sluice::simulate {
namespace {

double units(contract::NanoMoney money) {
  return static_cast<double>(money.nano) / 1e9;
}

nlohmann::json json_of(const Distribution& distribution) {
  return {{"mean", distribution.mean}, {"p50", distribution.p50}, {"p99", distribution.p99}};
}

}  // namespace

Distribution distribution_of(std::vector<double> values) {
  Distribution distribution;
  if (values.empty()) return distribution;
  std::ranges::sort(values);
  double sum = 0.0;
  for (const double value : values) sum += value;
  const auto at = [&](double share) {
    const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
    return values[std::max<size_t>(rank, 1) - 1];
  };
  return {sum / static_cast<double>(values.size()), at(0.5), at(0.99)};
}

Figures figures_of(const Scenario& scenario, const Case& which, Arm arm, const RunResult& result) {
  Figures figures;
  figures.case_name = which.name;
  figures.arm = arm;
  figures.preemptions = result.preemptions;
  figures.limited = result.limited;
  figures.q_last = result.q_last;
  figures.requests = static_cast<int64_t>(result.outcomes.size());
  std::vector<double> ttft_s, tpot_s, total_s, waited_s;
  std::map<int64_t, std::vector<const Outcome*>> buckets;
  int64_t met = 0;
  int64_t remote = 0;
  for (const Outcome& outcome : result.outcomes) {
    buckets[static_cast<int64_t>(outcome.arrived_s / scenario.bucket_s)].push_back(&outcome);
    if (!outcome.answered) {
      ++figures.refused;
      continue;
    }
    met += outcome.met ? 1 : 0;
    remote += outcome.remote ? 1 : 0;
    ttft_s.push_back(outcome.ttft_s);
    tpot_s.push_back(outcome.tpot_s);
    total_s.push_back(outcome.total_s);
    waited_s.push_back(outcome.waited_s);
    figures.cost += units(outcome.cost);
  }
  const auto share = [](int64_t part, size_t of) {
    return of == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(of);
  };
  figures.met_share = share(met, result.outcomes.size());
  figures.remote_share = share(remote, total_s.size());
  for (const auto& [index, outcomes] : buckets) {
    Figures::Bucket bucket;
    bucket.from_s = static_cast<double>(index) * scenario.bucket_s;
    bucket.requests = static_cast<int64_t>(outcomes.size());
    std::vector<double> totals, ttfts;
    int64_t bucket_met = 0;
    int64_t bucket_remote = 0;
    for (const Outcome* outcome : outcomes) {
      if (!outcome->answered) continue;
      bucket_met += outcome->met ? 1 : 0;
      bucket_remote += outcome->remote ? 1 : 0;
      totals.push_back(outcome->total_s);
      ttfts.push_back(outcome->ttft_s);
      bucket.cost += units(outcome->cost);
    }
    bucket.met_share = share(bucket_met, outcomes.size());
    bucket.remote_share = share(bucket_remote, totals.size());
    bucket.total_mean_s = distribution_of(std::move(totals)).mean;
    bucket.ttft_mean_s = distribution_of(std::move(ttfts)).mean;
    figures.buckets.push_back(bucket);
  }
  figures.ttft_s = distribution_of(std::move(ttft_s));
  figures.tpot_s = distribution_of(std::move(tpot_s));
  figures.total_s = distribution_of(std::move(total_s));
  figures.waited_mean_s = distribution_of(std::move(waited_s)).mean;
  return figures;
}

core::Result<std::vector<Figures>> simulate(const Scenario& scenario) {
  std::vector<Figures> figures;
  for (const Case& which : scenario.cases) {
    for (const Arm arm : scenario.arms) {
      const RunResult result = TRY(run(scenario, which, arm));
      figures.push_back(figures_of(scenario, which, arm, result));
    }
  }
  return figures;
}

std::string to_table(const Scenario& scenario, const std::vector<Figures>& figures) {
  std::string text = fmt::format(
      "{}, seed {}\n\n{:<18} {:<16} {:>8} {:>7} {:>7} {:>7} {:>9} {:>9} {:>9} "
      "{:>9} {:>7} {:>10} {:>8} {:>6}\n",
      scenario.name, scenario.seed, "case", "arm", "requests", "limited", "refused", "met %",
      "TTFT p99", "TPOT ms", "total s", "p99 s", "remote", "cost", "preempt", "q");
  std::string_view before;
  for (const Figures& f : figures) {
    if (!before.empty() && before != f.case_name) text += "\n";
    before = f.case_name;
    text += fmt::format(
        "{:<18} {:<16} {:>8} {:>7} {:>7} {:>7.2f} {:>9.2f} {:>9.1f} {:>9.1f} {:>9.1f} "
        "{:>6.1f}% {:>10.4f} {:>8} {:>6}\n",
        f.case_name, to_text(f.arm), f.requests, f.limited, f.refused, 100.0 * f.met_share,
        f.ttft_s.p99, 1e3 * f.tpot_s.mean, f.total_s.mean, f.total_s.p99, 100.0 * f.remote_share,
        f.cost, f.preemptions, f.arm == Arm::kValve ? fmt::format("{:.3f}", f.q_last) : "");
  }
  return text;
}

std::string to_json(const Scenario& scenario, const std::vector<Figures>& figures) {
  nlohmann::json rows = nlohmann::json::array();
  for (const Figures& f : figures) {
    rows.push_back({{"case", f.case_name},
                    {"arm", to_text(f.arm)},
                    {"requests", f.requests},
                    {"refused", f.refused},
                    {"limited", f.limited},
                    {"met_share", f.met_share},
                    {"remote_share", f.remote_share},
                    {"ttft_s", json_of(f.ttft_s)},
                    {"tpot_s", json_of(f.tpot_s)},
                    {"total_s", json_of(f.total_s)},
                    {"waited_mean_s", f.waited_mean_s},
                    {"cost", f.cost},
                    {"preemptions", f.preemptions},
                    {"q_last", f.q_last}});
  }
  return nlohmann::json({{"scenario", scenario.name}, {"seed", scenario.seed}, {"runs", rows}})
      .dump(2);
}

std::string to_csv(const std::vector<Figures>& figures) {
  std::string text =
      "case,arm,from_s,requests,met_share,remote_share,total_mean_s,ttft_mean_s,cost\n";
  for (const Figures& f : figures)
    for (const Figures::Bucket& b : f.buckets)
      text += fmt::format("{},{},{},{},{:.6f},{:.6f},{:.6f},{:.6f},{:.9f}\n", f.case_name,
                          to_text(f.arm), b.from_s, b.requests, b.met_share, b.remote_share,
                          b.total_mean_s, b.ttft_mean_s, b.cost);
  return text;
}

}  // namespace sluice::simulate
