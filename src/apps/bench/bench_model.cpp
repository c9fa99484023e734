// sluice bench MODEL: tokens per second of prefill and decode, beside what this machine could do.
#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "apps/bench/bench_drafts.h"
#include "apps/bench/benched_model.h"
#include "apps/bench/kinds.h"
#include "apps/bench/roof.h"
#include "apps/bench/step_shares.h"
#include "core/clock.h"
#include "core/cpu.h"
#include "core/math.h"
#include "core/rng.h"
#include "model/single_sequence.h"

namespace sluice::apps {
namespace {

struct Options {
  BenchedModelOptions benched;
  int32_t prompt = 512;
  int32_t generate = 128;
  int32_t depth = 0;
  std::vector<int32_t> stream_counts = {1};
  int32_t streams = 1;  // one of them: of the run under way
  int32_t repeats = 5;
  int32_t step_tokens = 512;
  bool recalibrate = false;
  bool profile = false;
  std::string prompt_file;  // empty: random ids
  SpeculationOptions speculation;
  std::string output = "text";
};

// One measured line: a prefill (generate == 0) or a decode (prompt == 0).
struct Test {
  int32_t prompt = 0;
  int32_t generate = 0;
};

struct Speed {
  std::vector<double> samples;  // tokens per second, all streams together
  StepShares step;              // of the decode, where a profile was asked for
  double resident_hits = 0;     // share of the choices whose expert the device had besides
  double pulled_share = 0;      // of the other experts what came over the link
  double fetched_share = 0;     // of the matrices fetched before they were chosen, those used
  bool is_fetched = false;
  int64_t exchanges = 0;    // of such experts, in all repeats
  double expert_ratio = 1;  // of the decode's steps, ExpertCount::ratio()

  double mean() const {
    double sum = 0;
    for (const double s : samples) sum += s;
    return sum / static_cast<double>(samples.size());
  }
  double deviation() const {
    if (samples.size() < 2) return 0;
    double sum = 0;
    for (const double s : samples) sum += (s - mean()) * (s - mean());
    return std::sqrt(sum / static_cast<double>(samples.size() - 1));
  }
};

// What a test moved and computed, as shares of the machine's limits.
struct Usage {
  double bytes_per_token = 0;  // of the file's tensors that a step read, and KV at the depth
  double read_gb_s = 0;
  double tops = 0;
  double roof = 0;  // GB/s of a decode, 10^12 operations per second of a prefill
  // Of a decode on a device and on a processor beside it: tok/s if both read at their limits, one
  // after the other, and what a layer takes above that.
  double limit_ts = 0;
  double fixed_us_per_layer = 0;
  double share() const { return roof > 0 ? (read_gb_s > 0 ? read_gb_s : tops) / roof : 0; }
};

class ModelBench {
 public:
  ModelBench(model::Model& model, const Options& options)
      : model_(model),
        options_(options),
        logits_(static_cast<size_t>(int64_t{options.streams} * model.spec().vocab)),
        experts_(model.spec().experts.count),
        best_ids_(static_cast<size_t>(options.streams)),
        profile_{
            .clock = clock_,
            .threads = std::vector<model::StepTimes>(static_cast<size_t>(model.pool().threads()))} {
    const int64_t tokens = options.depth + std::max(options.prompt, options.generate);
    const auto pages = static_cast<int32_t>(core::div_ceil(tokens, kernels::kPageTokens));
    for (int32_t s = 0; s < options.streams; ++s) streams_.emplace_back(model, s * pages, tokens);
    prefill(options.depth);
  }

  Speed run(const Test& test) {
    Speed speed;
    (void)seconds(test);  // warms caches and the processor's clock
    const model::ResidentCounts before = model_.resident_counts();
    std::fill(profile_.threads.begin(), profile_.threads.end(), model::StepTimes{});
    profile_.queue_ns.fill(0);
    for (int32_t r = 0; r < options_.repeats; ++r)
      speed.samples.push_back((test.prompt + test.generate) * options_.streams / seconds(test));
    speed.step = shares_of(test, speed);
    speed.expert_ratio = experts_.ratio();
    const model::ResidentCounts counts = model_.resident_counts().since(before);
    speed.resident_hits = counts.hit_share();
    speed.pulled_share = counts.pulled_share();
    speed.fetched_share = counts.fetched_share();
    speed.is_fetched = counts.fetched > 0;
    speed.exchanges = counts.exchanges;
    return speed;
  }

 private:
  double seconds(const Test& test) {
    for (model::SingleSequence& stream : streams_) stream.rewind(options_.depth);
    const int64_t start_ns = clock_.now_ns();
    prefill(test.prompt);
    for (int32_t t = 0; t < test.generate; ++t) decode_step();
    collect_down_to(0);
    return static_cast<double>(clock_.now_ns() - start_ns) * 1e-9;
  }

  StepShares shares_of(const Test& test, const Speed& speed) const {
    const double steps = static_cast<double>(test.generate) * options_.repeats;
    if (!options_.profile || steps == 0) return {};
    double whole_us = 0;
    for (const double tokens_per_second : speed.samples)
      whole_us += 1e6 * options_.streams / tokens_per_second / options_.repeats;
    return step_shares(profile_, steps, whole_us);
  }

  void prefill(int32_t tokens) {
    for (model::SingleSequence& stream : streams_) {
      std::vector<int32_t> ids;
      for (int32_t t = 0; t < tokens; ++t) ids.push_back(random_id());
      stream.append({.ids = ids, .chunk = options_.step_tokens, .logit_count = std::min(tokens, 1)},
                    logits_.data());
    }
  }

  void decode_step() {
    ids_.clear();
    spans_.clear();
    rows_.clear();
    for (model::SingleSequence& stream : streams_) {
      const auto row = static_cast<int32_t>(ids_.size());
      ids_.push_back(random_id());
      rows_.push_back(row);
      spans_.push_back(stream.span(row, 1));
      stream.advance(1);
    }
    const model::StepBatch batch{.token_ids = ids_,
                                 .sequences = spans_,
                                 .logit_rows = rows_,
                                 .routing_observer = &routing_,
                                 .profile = options_.profile ? &profile_ : nullptr};
    if (model_.device() == nullptr) return model_.forward(batch, logits_.data());
    model_.submit(batch, {.rows = {}, .vocab = model_.spec().vocab});
    ++under_way_;
    collect_down_to(model_.goes_ahead() ? 1 : 0);
  }

  // As the engine does: a step is submitted before the ids of the last one have been read.
  void collect_down_to(int64_t steps) {
    for (; under_way_ > steps; --under_way_) model_.collect(best_ids_);
  }

  int32_t random_id() { return static_cast<int32_t>(rng_.below(model_.spec().vocab)); }

  model::Model& model_;
  const Options& options_;
  core::SystemClock clock_;
  core::Rng rng_{1};
  std::vector<model::SingleSequence> streams_;
  std::vector<int32_t> ids_;
  std::vector<int32_t> rows_;
  std::vector<model::SequenceSpan> spans_;
  std::vector<float> logits_;
  ExpertCount experts_;
  std::vector<int32_t> best_ids_;  // of a device's step: all that comes back
  int64_t under_way_ = 0;          // steps of a device
  const model::RoutingObserver routing_ = [this](int32_t, std::span<const int32_t> ids,
                                                 std::span<const float>) {
    experts_.see(ids, ids_.size());
  };
  model::StepProfile profile_;  // of decode steps
};

// Of a step that reads host_bytes by the processor and the others by the device.
void add_hybrid_limit(double step_bytes, double host_bytes, const Roofs& roofs, Usage* usage,
                      const model::Model& model, double steps_per_second, int32_t streams) {
  const double limit_s = (step_bytes - host_bytes) / (roofs.device.read_gb_s * 1e9) +
                         (host_bytes > 0 ? host_bytes / (roofs.host.read_gb_s * 1e9) : 0);
  usage->limit_ts = streams / limit_s;
  usage->roof = step_bytes / limit_s * 1e-9;
  usage->fixed_us_per_layer = (1 / steps_per_second - limit_s) * 1e6 / model.spec().layers;
}

Usage usage_of(const Options& options, const model::Model& model, const Test& test,
               const Speed& speed, const Roofs& roofs) {
  const bool has_device = model.device() != nullptr;
  const kernels::Roof& roof = has_device ? roofs.device : roofs.host;
  Usage usage;
  if (test.generate > 0) {
    const model::MemoryPlan& plan = model.memory_plan();
    const double step_bytes =
        static_cast<double>(plan.step_file_bytes) +
        (speed.expert_ratio - 1) * static_cast<double>(plan.expert_file_bytes);
    usage.bytes_per_token =
        step_bytes / options.streams +
        static_cast<double>(options.depth) * static_cast<double>(plan.kv_token_bytes);
    usage.read_gb_s = usage.bytes_per_token * speed.mean() * 1e-9;
    usage.roof = roof.read_gb_s;
    if (has_device)
      add_hybrid_limit(step_bytes + static_cast<double>(options.depth * options.streams) *
                                        static_cast<double>(plan.kv_token_bytes),
                       speed.expert_ratio * (1 - speed.resident_hits) *
                           static_cast<double>(plan.host_expert_file_bytes),
                       roofs, &usage, model, speed.mean() / options.streams, options.streams);
    return usage;
  }
  usage.tops = model.memory_plan().token_operations * speed.mean() * 1e-12;
  usage.roof = roof_tera_ops(roof, model);
  return usage;
}

nlohmann::ordered_json row_json(const Options& options, const OpenedModel& opened, const Test& test,
                                const Speed& speed, const Usage& usage) {
  const formats::Manifest& manifest = opened.checkpoint->manifest();
  nlohmann::ordered_json row = {{"model_filename", options.benched.model.model},
                                {"model_name", manifest.name},
                                {"model_digest", manifest.digest},
                                {"model_size", manifest.weights_bytes},
                                {"cpu_info", core::detect_cpu().model},
                                {"kernels", kernels_name(*opened.model)},
                                {"n_threads", opened.model->pool().threads()},
                                {"n_batch", options.step_tokens},
                                {"n_prompt", test.prompt},
                                {"n_gen", test.generate},
                                {"n_depth", options.depth},
                                {"n_streams", options.streams},
                                {"avg_ts", speed.mean()},
                                {"stddev_ts", speed.deviation()},
                                {"samples_ts", speed.samples}};
  if (test.generate > 0) {
    row["bytes_per_token"] = usage.bytes_per_token;
    if (opened.model->spec().experts.count > 0)
      row["experts_per_step"] = speed.expert_ratio * opened.model->spec().experts.used;
    if (speed.resident_hits > 0) {
      row["resident_hits"] = speed.resident_hits;
      row["resident_exchanges"] = speed.exchanges;
    }
    if (speed.pulled_share > 0) row["pulled_share"] = speed.pulled_share;
    if (speed.is_fetched) row["fetched_used_share"] = speed.fetched_share;
    row["read_gb_s"] = usage.read_gb_s;
    row["roof_gb_s"] = usage.roof;
    if (usage.limit_ts > 0) {
      row["limit_ts"] = usage.limit_ts;
      row["fixed_us_per_layer"] = usage.fixed_us_per_layer;
    }
  } else {
    row["tops"] = usage.tops;
    row["roof_tops"] = usage.roof;
  }
  row["roof_share"] = usage.share();
  if (const StepShares& step = speed.step; step.whole_us > 0)
    row["step_us"] = {{"whole", step.whole_us},         {"linear", step.linear_us},
                      {"attention", step.attention_us}, {"rows", step.rows_us},
                      {"waiting", step.waiting_us},     {"device", step.device_us},
                      {"rest", step.rest_us()}};
  for (int p = 0; p < model::kQueueParts; ++p)
    if (const double us = speed.step.queue_us[static_cast<size_t>(p)]; us > 0)
      row["queue_us"][std::string(name_of(static_cast<model::QueuePart>(p)))] = us;
  return row;
}

void print_row(const Options& options, const Test& test, const Speed& speed, const Usage& usage) {
  const bool decode = test.generate > 0;
  fmt::print("{:<9} {:>6} {:>7} {:>12.1f} ± {:<8.1f} {:>9.2f} {:<6} {:>9.2f} {:>6.0f} %\n",
             decode ? fmt::format("tg{}", test.generate) : fmt::format("pp{}", test.prompt),
             options.depth, options.streams, speed.mean(), speed.deviation(),
             decode ? usage.read_gb_s : usage.tops, decode ? "GB/s" : "TOPS", usage.roof,
             100 * usage.share());
  if (usage.limit_ts > 0)
    fmt::print("limit {:.1f} tok/s; fixed cost {:.1f} µs a layer\n", usage.limit_ts,
               usage.fixed_us_per_layer);
  if (speed.resident_hits > 0)
    fmt::print("{:.1f} % of the experts chosen were resident; {} exchanges\n",
               100 * speed.resident_hits, speed.exchanges);
  if (speed.pulled_share > 0)
    fmt::print("{:.1f} % of the host's experts that a step read came over the link\n",
               100 * speed.pulled_share);
  if (speed.is_fetched)
    fmt::print("{:.1f} % of what the processor fetched before it was chosen was used\n",
               100 * speed.fetched_share);
  const StepShares& step = speed.step;
  if (step.whole_us == 0) return;
  const auto percent = [&](double us) { return 100 * us / step.whole_us; };
  fmt::print(
      "a step of {:.0f} µs: linear {:.1f} %, attention {:.1f} %, row-wise {:.1f} %, waiting {:.1f} "
      "%, device {:.1f} %, rest {:.1f} %\n",
      step.whole_us, percent(step.linear_us), percent(step.attention_us), percent(step.rows_us),
      percent(step.waiting_us), percent(step.device_us), percent(step.rest_us()));
  std::string queue;
  for (int p = 0; p < model::kQueueParts; ++p)
    if (const double us = step.queue_us[static_cast<size_t>(p)]; us > 0)
      queue += fmt::format("{}{} {:.1f}", queue.empty() ? "" : ", ",
                           name_of(static_cast<model::QueuePart>(p)), us);
  if (!queue.empty()) fmt::print("on the device, µs: {}\n", queue);
}

// Both tests with options.streams; rows for `-o json`.
void run_tests(const Options& options, const OpenedModel& opened, Roofs* roofs,
               nlohmann::ordered_json* rows) {
  ModelBench runner(*opened.model, options);
  for (const Test& test : {Test{.prompt = options.prompt}, Test{.generate = options.generate}}) {
    if (test.prompt + test.generate == 0) continue;
    const Speed speed = runner.run(test);
    Usage usage = usage_of(options, *opened.model, test, speed, *roofs);
    if (usage.share() > 1) {
      // No limit can be passed: it was measured while the machine had other work.
      *roofs = measure_roofs(*opened.model, RoofSource::kMeasure);
      usage = usage_of(options, *opened.model, test, speed, *roofs);
    }
    if (options.output == "text")
      print_row(options, test, speed, usage);
    else
      rows->push_back(row_json(options, opened, test, speed, usage));
  }
}

core::Result<void> bench(const Options& options) {
  const int64_t tokens = options.depth + std::max(options.prompt, options.generate);
  const int32_t streams_max =
      *std::max_element(options.stream_counts.begin(), options.stream_counts.end());
  const int64_t kv_tokens = streams_max * core::round_up(tokens, kernels::kPageTokens);
  const int32_t step_tokens = std::max(options.step_tokens, streams_max);
  const OpenedModel opened = TRY(open_benched_model(options.benched, step_tokens, kv_tokens));
  Roofs roofs =
      measure_roofs(*opened.model, options.recalibrate ? RoofSource::kMeasure : RoofSource::kCache);
  if (options.output == "text")
    fmt::print(
        "{} · {} · {} threads · kernels {}\n{:<9} {:>6} {:>7} {:>12}   {:<8} {:>16} {:>9} "
        "{:>8}\n",
        opened.checkpoint->manifest().name, core::detect_cpu().model,
        opened.model->pool().threads(), kernels_name(*opened.model), "test", "depth", "streams",
        "tok/s", "", "achieved", "roof", "share");
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const int32_t streams : options.stream_counts) {
    Options of_run = options;
    of_run.streams = streams;
    run_tests(of_run, opened, &roofs, &rows);
  }
  if (options.output == "json") fmt::print("{}\n", rows.dump(1));
  return {};
}

DraftBenchOptions drafts_of(const Options& options) {
  return {.benched = options.benched,
          .prompt_file = options.prompt_file,
          .speculation = options.speculation,
          .answer_tokens = options.generate,
          .stream_counts = options.stream_counts,
          .repeats = options.repeats,
          .step_tokens = options.step_tokens,
          .output = options.output};
}

}  // namespace

int run_bench_model(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Speed of a model with random ids, beside this machine's measured limits: prefill (pp) in\n"
      "operations, decode (tg) in bytes of the file's tensors and of KV at --depth.\n"
      "Also: sluice bench report --help, sluice bench op --help, sluice bench serve --help.",
      "sluice bench"};
  add_benched_model_options(app, &options.benched);
  auto* prompt =
      app.add_option("-p,--n-prompt", options.prompt, "tokens of the prompt; 0 leaves the test out")
          ->capture_default_str()
          ->check(CLI::Range(0, 1 << 20));
  app.add_option("-n,--n-gen", options.generate, "tokens to decode; 0 leaves the test out")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20));
  auto* depth =
      app.add_option("-d,--depth", options.depth, "tokens already in the KV of each stream")
          ->capture_default_str()
          ->check(CLI::Range(0, 1 << 20));
  app.add_option("--streams", options.stream_counts,
                 "sequences at the same time; several numbers: one after the other")
      ->capture_default_str()
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 1024));
  app.add_option("-r,--repeats", options.repeats, "measured repetitions, after one to warm up")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  app.add_option("-b,--step-tokens", options.step_tokens, "tokens of one prefill step")
      ->capture_default_str()
      ->check(CLI::Range(1, 8192));
  auto* recalibrate =
      app.add_flag("--recalibrate", options.recalibrate, "measure the machine's limits anew");
  auto* profile = app.add_flag(
      "--profile", options.profile,
      "where the time of a decode step goes, by thread and by part of a device's queue, "
      "whose clocks make it longer");
  auto* text = app.add_option("--prompt-file", options.prompt_file,
                              "a text instead of random ids: the answer to it, with drafts and "
                              "without in turn")
                   ->check(CLI::ExistingFile);
  for (CLI::Option* other : {prompt, depth, recalibrate, profile}) text->excludes(other);
  add_speculation_option(app, &options.speculation)->needs(text);
  add_output_option(app, &options.output);
  app.footer(
      "Examples: sluice bench model.gguf -p 512 -n 128 -r 3\n"
      "          sluice bench model.gguf --prompt-file question.txt --speculation ngram\n"
      "          sluice bench --synth deepseek-v3 --layers 4 --draft-layer --prompt-file text.txt\n"
      "          sluice bench --synth deepseek-v3 --layers 7 --device cuda --place experts=cpu");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  const auto done = options.prompt_file.empty() ? bench(options) : bench_drafts(drafts_of(options));
  return done.ok() ? 0 : report("bench", done.error());
}

}  // namespace sluice::apps
