#include "server/metrics_text.h"

#include <iterator>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace sluice::server {
namespace {

using Labels = std::vector<std::pair<std::string_view, std::string>>;

// The exposition format of Prometheus, version 0.0.4.
class MetricsWriter {
 public:
  explicit MetricsWriter(std::string model_name) : model_name_(std::move(model_name)) {}

  void family(std::string_view name, std::string_view type, std::string_view help) {
    write("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  void sample(std::string_view name, const Labels& labels, double value) {
    write("{}{{model_name=\"{}\"", name, escaped(model_name_));
    for (const auto& [label, text] : labels) write(",{}=\"{}\"", label, escaped(text));
    write("}} {}\n", value);
  }
  void gauge(std::string_view name, std::string_view help, double value) {
    family(name, "gauge", help);
    sample(name, {}, value);
  }
  void counter(std::string_view name, std::string_view help, int64_t value) {
    family(name, "counter", help);
    sample(name, {}, static_cast<double>(value));
  }
  void histogram(std::string_view name, std::string_view help, const engine::Histogram& values) {
    family(name, "histogram", help);
    const std::string bucket = fmt::format("{}_bucket", name);
    int64_t below = 0;
    for (size_t i = 0; i < values.bounds().size(); ++i) {
      below += values.counts()[i];
      sample(bucket, {{"le", fmt::format("{}", values.bounds()[i])}}, static_cast<double>(below));
    }
    sample(bucket, {{"le", "+Inf"}}, static_cast<double>(values.count()));
    sample(fmt::format("{}_sum", name), {}, values.sum());
    sample(fmt::format("{}_count", name), {}, static_cast<double>(values.count()));
  }
  std::string take() { return std::move(out_); }

 private:
  template <typename... Args>
  void write(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }
  static std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
      if (c == '\\' || c == '"') out += '\\';
      if (c == '\n')
        out += "\\n";
      else
        out += c;
    }
    return out;
  }

  std::string model_name_;
  std::string out_;
};

struct CounterRow {
  std::string_view name;
  std::string_view help;
  int64_t engine::EngineStats::*value;
};
constexpr CounterRow kCounters[] = {
    {"vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
     &engine::EngineStats::prefix_query_tokens},
    {"vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.",
     &engine::EngineStats::prefix_hit_tokens},
    {"vllm:prompt_tokens_total", "Prompt tokens of requests that have their first token.",
     &engine::EngineStats::prompt_tokens},
    {"vllm:prompt_tokens_cached_total", "Of these, not computed again.",
     &engine::EngineStats::prompt_cached_tokens},
    {"vllm:generation_tokens_total", "Tokens generated.", &engine::EngineStats::generation_tokens},
    {"vllm:num_preemptions_total", "Sequences set back for want of pages.",
     &engine::EngineStats::preemptions},
    {"sluice:targets_met_total", "Requests with a target that reached all of it.",
     &engine::EngineStats::targets_met},
    {"sluice:targets_missed_total", "Requests with a target that missed a part of it.",
     &engine::EngineStats::targets_missed},
    {"sluice:steps_total", "Forward passes.", &engine::EngineStats::steps},
};

struct HistogramRow {
  std::string_view name;
  std::string_view help;
  engine::Histogram engine::EngineStats::*values;
};
constexpr HistogramRow kHistograms[] = {
    {"vllm:time_to_first_token_seconds", "From submission to the first token.",
     &engine::EngineStats::time_to_first_token_s},
    {"vllm:inter_token_latency_seconds", "Between two tokens of a request.",
     &engine::EngineStats::inter_token_s},
    {"vllm:request_time_per_output_token_seconds", "Mean between the tokens of a request.",
     &engine::EngineStats::time_per_output_token_s},
    {"vllm:e2e_request_latency_seconds", "From submission to the end.",
     &engine::EngineStats::e2e_s},
    {"vllm:request_queue_time_seconds", "From submission to the first step.",
     &engine::EngineStats::queue_s},
    {"vllm:request_prefill_time_seconds", "From the first step to the first token.",
     &engine::EngineStats::prefill_s},
    {"vllm:request_decode_time_seconds", "From the first token to the end.",
     &engine::EngineStats::decode_s},
    {"vllm:request_inference_time_seconds", "From the first step to the end.",
     &engine::EngineStats::inference_s},
    {"vllm:request_prompt_tokens", "Prompt tokens of a request.",
     &engine::EngineStats::request_prompt_tokens},
    {"vllm:request_generation_tokens", "Tokens generated for a request.",
     &engine::EngineStats::request_generation_tokens},
    {"vllm:request_params_max_tokens", "Tokens that a request may generate.",
     &engine::EngineStats::request_max_tokens},
    {"vllm:iteration_tokens_total", "Tokens computed in a step.",
     &engine::EngineStats::iteration_tokens},
};

// By engine::FinishReason.
constexpr std::string_view kFinishLabels[engine::kFinishReasons] = {"stop", "length", "abort",
                                                                    "error", "deadline"};

double share(int64_t part, int64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

// share = rate(limit seconds) / rate(seconds)
void write_work(MetricsWriter* out, const engine::EngineStats& stats) {
  const auto counter = [&](std::string_view name, std::string_view help, double value) {
    out->family(name, "counter", help);
    out->sample(name, {}, value);
  };
  counter("sluice:step_seconds_total", "Time in forward passes.", stats.step_s);
  counter("sluice:step_read_bytes_total", "Bytes of weights and KV that they had to read.",
          stats.step_read_bytes);
  counter("sluice:step_operations_total", "Operations that their products had to do.",
          stats.step_operations);
  if (stats.step_limit_s > 0)
    counter("sluice:step_limit_seconds_total",
            "The least time that these take at this machine's measured limits.",
            stats.step_limit_s);
}

void write_pages(MetricsWriter* out, const engine::EngineStats& stats, int64_t page_tokens) {
  out->gauge("vllm:kv_cache_usage_perc", "Share of the KV pages that running requests hold (0-1).",
             share(stats.pages_used, stats.pages));
  out->family("vllm:cache_config_info", "gauge", "The KV cache's settings.");
  out->sample("vllm:cache_config_info",
              {{"block_size", fmt::format("{}", page_tokens)},
               {"num_gpu_blocks", fmt::format("{}", stats.pages)}},
              1);
  out->family("sluice:kv_pages", "gauge", "KV pages by what they are held for.");
  const int64_t free = stats.pages - stats.pages_used - stats.pages_cached;
  for (const auto& [state, pages] :
       {std::pair{"used", stats.pages_used}, std::pair{"cached", stats.pages_cached},
        std::pair{"free", free}})
    out->sample("sluice:kv_pages", {{"state", state}}, static_cast<double>(pages));
}

// acceptance = rate(accepted) / rate(drafted)
void write_drafts(MetricsWriter* out, const engine::EngineStats& stats) {
  constexpr std::string_view kLabels[engine::kDraftKinds] = {"ngram", "mtp"};  // by DraftKind
  const auto family = [&](std::string_view name, std::string_view help, auto member) {
    out->family(name, "counter", help);
    for (size_t kind = 0; kind < stats.drafts.size(); ++kind)
      out->sample(name, {{"kind", std::string(kLabels[kind])}},
                  static_cast<double>(stats.drafts[kind].*member));
  };
  family("sluice:draft_tokens_total", "Guessed tokens that steps have verified.",
         &engine::DraftCounts::drafted);
  family("sluice:draft_tokens_accepted_total", "Of these, right.", &engine::DraftCounts::accepted);
  int64_t drafted = 0, accepted = 0;
  for (const engine::DraftCounts& counts : stats.drafts) {
    drafted += counts.drafted;
    accepted += counts.accepted;
  }
  out->counter("vllm:spec_decode_num_draft_tokens_total", "The same, of every kind.", drafted);
  out->counter("vllm:spec_decode_num_accepted_tokens_total", "The same, of every kind.", accepted);
}

// hit rate = rate(resident) / rate(choices)
void write_residents(MetricsWriter* out, const model::ResidentCounts& residents) {
  if (residents.pulled + residents.read > 0) {
    out->counter("sluice:experts_pulled_total",
                 "Experts of the host that a device took over the link for one step.",
                 residents.pulled);
    out->counter("sluice:experts_read_total", "Experts of the same steps that the processor read.",
                 residents.read);
  }
  if (residents.fetched > 0) {
    out->counter(
        "sluice:expert_matrices_fetched_total",
        "Matrices of the host's experts that the processor fetched before they were chosen.",
        residents.fetched);
    out->counter("sluice:expert_matrices_fetched_used_total", "Of these, chosen.",
                 residents.fetched_used);
  }
  if (residents.choices == 0) return;
  out->counter("sluice:expert_choices_total",
               "Experts that tokens of decode steps chose in layers whose home is the host.",
               residents.choices);
  out->counter("sluice:expert_choices_resident_total", "Of these, on the device besides.",
               residents.hits);
  out->counter("sluice:expert_exchanges_total",
               "Experts brought to the device for one that was used less.", residents.exchanges);
}

void write_http(MetricsWriter* out, const net::ServerStats& http) {
  out->gauge("sluice:http_connections", "Connections open.", static_cast<double>(http.connections));
  out->gauge("sluice:http_requests_running", "Requests not answered yet.",
             static_cast<double>(http.running));
  out->counter("sluice:http_connections_refused_total", "Connections over the limit.",
               http.refused);
  out->counter("sluice:http_requests_total", "Requests read.", http.requests);
  out->counter("sluice:http_requests_rejected_total", "Requests that were no valid HTTP.",
               http.rejected);
  out->counter("sluice:tls_handshakes_failed_total", "Connections on which TLS was not agreed.",
               http.handshakes_failed);
  out->counter("sluice:http_answers_cut_total", "Answers that ended before they were complete.",
               http.cut);
}

}  // namespace

std::string metrics_text(const MetricsInput& input) {
  const engine::EngineStats& stats = input.engine;
  MetricsWriter out(input.model_name);
  out.gauge("vllm:num_requests_running", "Requests that hold KV pages.",
            static_cast<double>(stats.running));
  out.gauge("vllm:num_requests_waiting", "Requests that wait for their turn.",
            static_cast<double>(stats.waiting));
  write_pages(&out, stats, input.page_tokens);
  for (const CounterRow& row : kCounters) out.counter(row.name, row.help, stats.*row.value);
  write_work(&out, stats);
  write_drafts(&out, stats);
  write_residents(&out, stats.residents);
  out.family("vllm:request_success_total", "counter", "Requests ended, by reason.");
  for (size_t reason = 0; reason < stats.finished.size(); ++reason)
    out.sample("vllm:request_success_total",
               {{"finished_reason", std::string(kFinishLabels[reason])}},
               static_cast<double>(stats.finished[reason]));
  for (const HistogramRow& row : kHistograms) out.histogram(row.name, row.help, stats.*row.values);
  out.histogram("vllm:request_params_n", "Answers that a request asks for.", input.request_n);
  write_http(&out, input.http);
  if (input.resident_bytes > 0)
    out.gauge("process_resident_memory_bytes", "Resident memory of this process.",
              static_cast<double>(input.resident_bytes));
  return out.take();
}

}  // namespace sluice::server
