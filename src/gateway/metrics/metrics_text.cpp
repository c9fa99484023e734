#include "gateway/metrics/metrics_text.h"

#include <iterator>
#include <map>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "gateway/metrics/names.h"

namespace sluice::gateway {
namespace {

using Labels = std::vector<std::pair<std::string_view, std::string_view>>;
using Counts = std::array<int64_t, kDurationBounds_s.size() + 1>;

constexpr double kNano = 1e-9;

// The exposition format of Prometheus, version 0.0.4.
class Writer {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    fmt::format_to(std::back_inserter(out_), "# HELP {} {}\n# TYPE {} {}\n", name, help, name,
                   type);
  }
  template <typename Number>
  void sample(std::string_view name, const Labels& labels, Number value) {
    out_ += name;
    std::string_view before = "{";
    for (const auto& [label, text] : labels) {
      fmt::format_to(std::back_inserter(out_), "{}{}=\"", before, label);
      append_escaped(text);
      out_ += '"';
      before = ",";
    }
    if (!labels.empty()) out_ += '}';
    fmt::format_to(std::back_inserter(out_), " {}\n", value);
  }
  template <typename Number>
  void single(std::string_view name, std::string_view type, std::string_view help, Number value) {
    family(name, type, help);
    sample(name, {}, value);
  }
  void histogram(std::string_view name, const Labels& labels, const Counts& counts,
                 int64_t sum_ns) {
    const std::string bucket = fmt::format("{}_bucket", name);
    int64_t below = 0;
    for (size_t i = 0; i < counts.size(); ++i) {
      below += counts[i];
      const std::string bound = i < kDurationBounds_s.size()
                                    ? fmt::format("{}", kDurationBounds_s[i])
                                    : std::string("+Inf");
      Labels with_bound = labels;
      with_bound.emplace_back("le", bound);
      sample(bucket, with_bound, below);
    }
    sample(fmt::format("{}_sum", name), labels, static_cast<double>(sum_ns) * kNano);
    sample(fmt::format("{}_count", name), labels, below);
  }
  std::string take() { return std::move(out_); }

 private:
  void append_escaped(std::string_view text) {
    for (const char c : text) {
      if (c == '\\' || c == '"') out_ += '\\';
      if (c == '\n')
        out_ += "\\n";
      else
        out_ += c;
    }
  }
  std::string out_;
};

struct Duration {
  Counts counts = {};
  int64_t sum_ns = 0;
  void add(const DurationHistogram& histogram) { histogram.add_to(&counts, &sum_ns); }
};

// Of one model over all loops.
struct ModelSum {
  std::array<int64_t, contract::kOutcomes> requests = {};
  std::array<int64_t, contract::kUnits> quantities = {};
  std::array<int64_t, kValveDecisions> decisions = {};
  int64_t target_missed = 0;
  int64_t amount_nano = 0;
  int64_t cost_nano = 0;
  Duration ttft, tpot, total;
};

template <size_t N>
void add_to(std::array<int64_t, N>* sums, const std::array<Counter, N>& counters) {
  for (size_t i = 0; i < N; ++i) (*sums)[i] += counters[i].value();
}

std::map<std::string, ModelSum> sum_models(std::span<const LoopMetrics* const> loops) {
  std::map<std::string, ModelSum> sums;
  for (const LoopMetrics* loop : loops)
    loop->for_each_model([&](std::string_view model, const ModelMetrics& metrics) {
      ModelSum& sum = sums[std::string(model)];
      add_to(&sum.requests, metrics.requests);
      add_to(&sum.quantities, metrics.quantities);
      add_to(&sum.decisions, metrics.decisions);
      sum.target_missed += metrics.target_missed.value();
      sum.amount_nano += metrics.amount_nano.value();
      sum.cost_nano += metrics.cost_nano.value();
      sum.ttft.add(metrics.ttft);
      sum.tpot.add(metrics.tpot);
      sum.total.add(metrics.total);
    });
  return sums;
}

void write_models(Writer* out, const std::map<std::string, ModelSum>& models) {
  out->family("sluice_gateway_requests_total", "counter", "Requests ended, by how.");
  for (const auto& [model, sum] : models)
    for (size_t i = 0; i < sum.requests.size(); ++i)
      out->sample("sluice_gateway_requests_total",
                  {{"model", model}, {"outcome", to_text(static_cast<contract::Outcome>(i))}},
                  sum.requests[i]);
  out->family("sluice_gateway_usage_total", "counter", "What was used, by unit.");
  for (const auto& [model, sum] : models)
    for (size_t i = 0; i < sum.quantities.size(); ++i)
      out->sample("sluice_gateway_usage_total",
                  {{"model", model}, {"unit", to_text(static_cast<contract::Unit>(i))}},
                  sum.quantities[i]);
  out->family("sluice_gateway_valve_decisions_total", "counter",
              "Where requests went and why: remote_* are overflow reasons.");
  for (const auto& [model, sum] : models)
    for (size_t i = 0; i < sum.decisions.size(); ++i)
      out->sample("sluice_gateway_valve_decisions_total",
                  {{"model", model}, {"decision", kDecisionNames[i]}}, sum.decisions[i]);
  out->family("sluice_gateway_target_missed_total", "counter",
              "Requests that missed their target.");
  for (const auto& [model, sum] : models)
    out->sample("sluice_gateway_target_missed_total", {{"model", model}}, sum.target_missed);
  out->family("sluice_gateway_money_nano_total", "counter",
              "Money in nano-units of the currency: sale to tenants, cost to suppliers.");
  for (const auto& [model, sum] : models)
    for (const auto& [side, nano] : {std::pair("sale", sum.amount_nano), {"cost", sum.cost_nano}})
      out->sample("sluice_gateway_money_nano_total", {{"model", model}, {"side", side}}, nano);
}

struct DurationRow {
  std::string_view name;
  std::string_view help;
  Duration ModelSum::*value;
};
constexpr DurationRow kDurations[] = {
    {"sluice_gateway_ttft_seconds", "From the first byte in to the first token out.",
     &ModelSum::ttft},
    {"sluice_gateway_tpot_seconds", "Mean time per output token after the first, per request.",
     &ModelSum::tpot},
    {"sluice_gateway_request_seconds", "From the first byte in to the last byte out.",
     &ModelSum::total},
};

void write_durations(Writer* out, const std::map<std::string, ModelSum>& models) {
  for (const DurationRow& row : kDurations) {
    out->family(row.name, "histogram", row.help);
    for (const auto& [model, sum] : models)
      out->histogram(row.name, {{"model", model}}, (sum.*row.value).counts,
                     (sum.*row.value).sum_ns);
  }
}

struct LoopRow {
  std::string_view name;
  std::string_view type;
  std::string_view help;
  Counter LoopMetrics::*value;
};
constexpr LoopRow kLoopRows[] = {
    {"sluice_gateway_limits_allowed_total", "counter", "Requests that every limit let pass.",
     &LoopMetrics::limits_allowed},
    {"sluice_gateway_upstream_retries_total", "counter",
     "Requests sent again before their first byte.", &LoopMetrics::upstream_retries},
    {"sluice_gateway_streams_resumed_total", "counter",
     "Running streams handed over to another replica.", &LoopMetrics::streams_resumed},
    {"sluice_gateway_requests_running", "gauge", "Requests not answered yet.",
     &LoopMetrics::running},
    {"sluice_gateway_requests_streaming", "gauge", "Of these, those whose first byte has left.",
     &LoopMetrics::streaming},
    {"sluice_gateway_requests_waiting", "gauge", "Of these, those that wait for local compute.",
     &LoopMetrics::waiting},
    {"sluice_gateway_journal_refused_total", "counter", "Records that could not be kept.",
     &LoopMetrics::journal_refused},
};

void write_loops(Writer* out, std::span<const LoopMetrics* const> loops) {
  for (const LoopRow& row : kLoopRows) {
    int64_t sum = 0;
    for (const LoopMetrics* loop : loops) sum += (loop->*row.value).value();
    out->single(row.name, row.type, row.help, sum);
  }
  std::array<int64_t, kDimensions> limits = {};
  std::array<int64_t, kAuthRefusals> refusals = {};
  Duration added;
  for (const LoopMetrics* loop : loops) {
    add_to(&limits, loop->limits_refused);
    add_to(&refusals, loop->auth_refused);
    added.add(loop->added);
  }
  out->family("sluice_gateway_limits_refused_total", "counter", "Requests refused, by the limit.");
  for (size_t i = 0; i < limits.size(); ++i)
    out->sample("sluice_gateway_limits_refused_total",
                {{"limit", to_text(static_cast<Dimension>(i))}}, limits[i]);
  out->family("sluice_gateway_auth_refused_total", "counter", "Requests without a valid key.");
  for (size_t i = 0; i < refusals.size(); ++i)
    out->sample("sluice_gateway_auth_refused_total", {{"reason", kAuthLabels[i]}}, refusals[i]);
  out->family("sluice_gateway_added_seconds", "histogram",
              "From a request's arrival to its being sent on, where it did not wait.");
  out->histogram("sluice_gateway_added_seconds", {}, added.counts, added.sum_ns);
}

void write_places(Writer* out, const MetricsInput& input) {
  const auto replicas = [&](std::string_view name, std::string_view help, const auto& value_of) {
    out->family(name, "gauge", help);
    for (const ReplicaGauge& gauge : input.replicas)
      out->sample(name, {{"replica", gauge.replica}, {"pool", gauge.pool}, {"model", gauge.model}},
                  value_of(gauge));
  };
  replicas("sluice_gateway_upstream_healthy", "1: takes requests; 0: ejected.",
           [](const auto& gauge) { return gauge.healthy ? 1 : 0; });
  replicas("sluice_gateway_upstream_requests_running", "Requests of this gateway at the replica.",
           [](const auto& gauge) { return gauge.requests_running; });
  replicas("sluice_gateway_upstream_queued_tokens", "Prompt tokens that wait at the replica.",
           [](const auto& gauge) { return gauge.queued_tokens; });
  out->family("sluice_gateway_pool_streams", "gauge", "Requests of this gateway in the pool.");
  for (const PoolGauge& pool : input.pools)
    out->sample("sluice_gateway_pool_streams", {{"pool", pool.pool}}, pool.streams);
  const auto bounds = [&](std::string_view name, std::string_view help, auto PoolGauge::*value) {
    out->family(name, "gauge", help);
    for (const PoolGauge& pool : input.pools)
      if (pool.*value) out->sample(name, {{"pool", pool.pool}}, *(pool.*value));
  };
  bounds("sluice_gateway_pool_streams_max", "What the pool takes at once, where it has a bound.",
         &PoolGauge::streams_max);
  bounds("sluice_gateway_pool_tokens_remaining",
         "Tokens that the pool takes now of those of a minute, where it has a bound.",
         &PoolGauge::tokens_remaining);
  out->family("sluice_gateway_valve_open", "gauge", "1: remotes take what local pools cannot.");
  for (const ValveGauge& valve : input.valves)
    out->sample("sluice_gateway_valve_open", {{"model", valve.model}}, valve.open ? 1 : 0);
  out->family("sluice_gateway_valve_saturation", "gauge",
              "Of the local pools at the last decision: 1 opens the valve, 0.7 closes it.");
  for (const ValveGauge& valve : input.valves)
    out->sample("sluice_gateway_valve_saturation", {{"model", valve.model}}, valve.saturation);
  out->family("sluice_gateway_valve_q", "gauge",
              "Local compute takes a request if it is in time with this chance; corrected online.");
  for (const ValveGauge& valve : input.valves)
    for (size_t i = 0; i < kStatistics; ++i)
      out->sample("sluice_gateway_valve_q",
                  {{"model", valve.model}, {"statistic", kStatisticNames[i]}}, valve.q[i]);
}

void write_rest(Writer* out, const MetricsInput& input) {
  out->single("sluice_gateway_snapshot_generation", "gauge", "Of the snapshot in force.",
              input.snapshot_generation);
  out->single("sluice_gateway_ledger_lag_records", "gauge",
              "Records in the journal that the store does not have yet.", input.ledger_lag_records);
  out->single("sluice_gateway_ledger_lag_seconds", "gauge", "Age of the oldest of them.",
              static_cast<double>(input.ledger_lag_ns) * kNano);
  out->single("sluice_gateway_ledger_proofs_total", "counter",
              "Proofs that the ledger's balances add up.", input.ledger_proofs);
  out->single("sluice_gateway_ledger_faults", "gauge",
              "What the last proof found; not 0: see the log, then `sluice usage verify`.",
              input.ledger_faults);
  out->single("sluice_gateway_journal_bytes", "gauge", "Size of the journal's files.",
              input.journal_bytes);
  out->single("sluice_gateway_spans_dropped_total", "counter",
              "Trace spans that found the queue full.", input.spans_dropped);
  out->single("sluice_gateway_http_connections", "gauge", "Client connections open.",
              input.http.connections);
  out->single("sluice_gateway_http_connections_refused_total", "counter",
              "Connections over the limit.", input.http.refused);
  out->single("sluice_gateway_http_requests_rejected_total", "counter",
              "Requests that were no valid HTTP.", input.http.rejected);
  out->single("sluice_gateway_http_answers_cut_total", "counter",
              "Answers that ended before they were complete.", input.http.cut);
  out->single("process_resident_memory_bytes", "gauge", "Resident memory of this process.",
              input.resident_bytes);
}

}  // namespace

std::string metrics_text(const MetricsInput& input) {
  Writer out;
  const auto models = sum_models(input.loops);
  write_models(&out, models);
  write_durations(&out, models);
  write_loops(&out, input.loops);
  write_places(&out, input);
  write_rest(&out, input);
  return out.take();
}

}  // namespace sluice::gateway
