// sluice plan MODEL|GEOMETRY: what a model takes and how fast it will be, before it is loaded.
//
// The limits follow from bytes alone (apps/traffic_report.h), for this machine or another. Of a
// file on this machine there is a measurement besides: A sample of the model (its types and shapes,
// a few layers of random weights) runs on the real forward pass; the missing layers are counted at
// the median time of the sample's.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "apps/bench/model_sample.h"
#include "apps/bench/roof.h"
#include "apps/bench/traffic_report.h"
#include "apps/model/byte_size.h"
#include "apps/model/geometry_options.h"
#include "apps/model/model_options.h"
#include "apps/verbs.h"
#include "core/clock.h"
#include "core/cpu.h"
#include "core/math.h"
#include "core/rng.h"
#include "kernels/registry.h"
#include "model/single_sequence.h"

namespace sluice::apps {
namespace {

constexpr int64_t kSampleBytes = 256 << 20;  // of layers: more than a core's caches hold
constexpr int32_t kDecodeSteps = 24;
constexpr int32_t kPrefills = 5;
constexpr double kLastLayer = 0.1;  // of a prompt, which goes on for one row behind keys and values

struct Options {
  ModelOptions model;
  int32_t context = 0;
  int32_t prompt = 512;
  TrafficOptions traffic;
  std::string output = "text";
};

struct Plan {
  std::string name, architecture, kernels;
  int32_t layers = 0, sampled_layers = 0, threads = 0;
  int64_t context = 0;
  int64_t parameters = 0;
  int64_t file_bytes = 0;
  int64_t weight_bytes = 0;  // as packed here
  int64_t kv_token_bytes = 0;
  int64_t activation_bytes = 0;
  int64_t step_bytes = 0;  // of the file's tensors, read for every token
  double prompt_operations = 0;
  double decode_tok_s = 0, decode_limit_tok_s = 0;
  double prefill_tok_s = 0, prefill_limit_tok_s = 0;

  int64_t memory_bytes() const {
    return weight_bytes + context * kv_token_bytes + activation_bytes;
  }
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

// Times a sample's steps and counts the layers that it lacks, which are like its last ones.
class SampleTimer {
 public:
  SampleTimer(model::Model& sample, int32_t layers, int64_t tokens_max)
      : sample_(sample),
        layers_(sample.spec().layers),
        missing_layers_(layers - layers_),
        tokens_max_(tokens_max),
        logits_(static_cast<size_t>(sample.spec().vocab)) {}

  double decode_s() { return whole_s(median_observed(1, kDecodeSteps)); }

  double prefill_s(int32_t rows) {
    if (sample_.spec().experts.count > 0) return whole_s(median_observed(rows, kPrefills));
    // An observed step has its threads share rows (`Forward`), so here layers are not timed one by
    // one: what is beside them takes as long as in a decode step.
    const double token_s = median_observed(1, kDecodeSteps);
    const double head_s = std::max(0.0, token_s - layers_ * median(layer_s_));
    const double sample_s = median_of(rows, kPrefills, nullptr);
    return sample_s + (sample_s - head_s) * missing_layers_ / (layers_ - 1 + kLastLayer);
  }

 private:
  double whole_s(double sample_s) const { return sample_s + missing_layers_ * median(layer_s_); }

  // Seconds of a step; layer_s_ becomes those of layers like the missing ones. The last one of a
  // prompt runs for the rows with logits only: it stands for itself.
  double median_observed(int32_t rows, int32_t steps) {
    const int32_t first = sample_.spec().experts.leading_dense;
    layer_s_.clear();
    int64_t last_ns = 0;
    const model::HiddenObserver observer = [&](int32_t layer, std::span<const float>) {
      const int64_t now_ns = clock_.now_ns();
      if (layer >= first && layer + 1 < layers_)
        layer_s_.push_back(static_cast<double>(now_ns - last_ns) * 1e-9);
      last_ns = now_ns;
    };
    return median_of(rows, steps, &observer);
  }

  double median_of(int32_t rows, int32_t steps, const model::HiddenObserver* observer) {
    std::vector<double> whole_s;
    run(rows, observer);  // warms up
    layer_s_.clear();
    for (int32_t i = 0; i < steps; ++i) whole_s.push_back(run(rows, observer));
    return median(whole_s);
  }

  double run(int32_t rows, const model::HiddenObserver* observer) {
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < rows; ++i)
      ids.push_back(static_cast<int32_t>(rng_.below(sample_.spec().vocab)));
    model::SingleSequence sequence(sample_, 0, tokens_max_);
    const int64_t start_ns = clock_.now_ns();
    sequence.append({.ids = ids, .chunk = rows, .logit_count = 1, .observer = observer},
                    logits_.data());
    return static_cast<double>(clock_.now_ns() - start_ns) * 1e-9;
  }

  model::Model& sample_;
  const int32_t layers_;
  const int32_t missing_layers_;
  const int64_t tokens_max_;
  std::vector<float> logits_;
  std::vector<double> layer_s_;
  core::SystemClock clock_;
  core::Rng rng_{1};
};

// Parameters and bytes by the tensor table.
void count_tensors(const std::vector<CheckpointMatrix>& matrices, const model::Spec& spec,
                   const kernels::Ops& ops, Plan* plan) {
  double step_bytes = 0;
  for (const auto& [name, view, file_bytes, is_draft] : matrices) {
    const bool is_embedding = name == "token_embd.weight";
    const bool is_output = name == "output.weight" || (is_embedding && spec.tied_embeddings);
    plan->parameters += view.values();
    plan->file_bytes += file_bytes;
    if (is_draft || (is_embedding && !spec.tied_embeddings)) continue;
    // Of the routed experts, those that a token reads.
    const double share = plan::part_of(name) == plan::Part::kExperts
                             ? static_cast<double>(spec.experts.used) / spec.experts.count
                             : 1;
    step_bytes += share * static_cast<double>(file_bytes);
    if (view.rows() == 1) {
      plan->weight_bytes += view.values() * static_cast<int64_t>(sizeof(float));
      continue;
    }
    plan->weight_bytes += ops.packed_bytes(view.type, view.rows(), view.columns());
    if (!is_output) plan->prompt_operations += share * 2.0 * static_cast<double>(view.values());
  }
  plan->step_bytes = std::llround(step_bytes);
}

// A name that is neither a file nor a geometry may be meant as either.
core::Result<std::unique_ptr<formats::Checkpoint>> open_file(const std::string& model) {
  if (!std::filesystem::exists(model))
    return core::invalid("'{}': No such file or folder; geometries: {}", model, geometry_names());
  return model::open_checkpoint(model);
}

core::Result<Plan> make_plan(const Options& options) {
  const auto checkpoint = TRY(open_file(options.model.model));
  const model::Spec spec = TRY(model::read_spec(*checkpoint));
  const ModelSample sample = TRY(sample_model(*checkpoint, spec, kSampleBytes));
  const auto loaded = TRY(model::Model::load(
      *sample.checkpoint,
      {.threads = options.model.threads > 0 ? options.model.threads : core::detect_cpu().cores,
       .step_tokens_max = options.prompt,
       .arithmetic = options.model.exact ? model::Arithmetic::kExact : model::Arithmetic::kFast,
       .kernels = options.model.kernels}));
  TRY(loaded->allocate_kv(core::div_ceil(options.prompt + kDecodeSteps, kernels::kPageTokens)));

  Plan plan;
  plan.name = checkpoint->manifest().name;
  plan.architecture = spec.architecture;
  plan.kernels = loaded->ops().name;
  plan.layers = spec.layers;
  plan.sampled_layers = sample.layers;
  plan.threads = loaded->pool().threads();
  plan.context = options.context > 0 ? options.context : spec.context_length;
  count_tensors(sample.matrices, spec, loaded->ops(), &plan);
  plan.kv_token_bytes = loaded->memory_plan().kv_token_bytes / sample.layers * spec.layers;
  plan.activation_bytes = loaded->memory_plan().activation_bytes;

  SampleTimer timer(*loaded, spec.layers, options.prompt);
  plan.decode_tok_s = 1 / timer.decode_s();
  plan.prefill_tok_s = options.prompt / timer.prefill_s(options.prompt);
  const kernels::Roof roof = machine_roof(loaded->pool(), loaded->ops().name, RoofSource::kCache);
  plan.decode_limit_tok_s = roof.read_gb_s * 1e9 / static_cast<double>(plan.step_bytes);
  plan.prefill_limit_tok_s =
      roof_tera_ops(roof, *loaded) * 1e12 / std::max(plan.prompt_operations, 1.0);
  return plan;
}

void print_text(const Plan& plan) {
  fmt::print("model    {} ({}), {} layers, {:.2f} billion parameters, {} in the file\n", plan.name,
             plan.architecture, plan.layers, static_cast<double>(plan.parameters) * 1e-9,
             byte_size_text(plan.file_bytes));
  fmt::print("machine  {}, kernels {}, {} threads\n", core::detect_cpu().model, plan.kernels,
             plan.threads);
  fmt::print("memory   {} = weights {} + KV {} ({} tokens of {}) + activations {}\n",
             byte_size_text(plan.memory_bytes()), byte_size_text(plan.weight_bytes),
             byte_size_text(plan.context * plan.kv_token_bytes), plan.context,
             byte_size_text(plan.kv_token_bytes), byte_size_text(plan.activation_bytes));
  const auto line = [](const char* name, double speed, double limit) {
    fmt::print("{:<8} {:.1f} tok/s expected, limit {:.1f} ({:.0f} %)\n", name, speed, limit,
               100 * speed / limit);
  };
  line("decode", plan.decode_tok_s, plan.decode_limit_tok_s);
  line("prefill", plan.prefill_tok_s, plan.prefill_limit_tok_s);
  fmt::print(
      "         one stream, short context; measured on {} of {} layers with random weights\n",
      plan.sampled_layers, plan.layers);
}

void print_json(const Plan& plan, const TrafficReport& traffic) {
  nlohmann::ordered_json out = {{"name", plan.name},
                                {"architecture", plan.architecture},
                                {"cpu_info", core::detect_cpu().model},
                                {"kernels", plan.kernels},
                                {"n_threads", plan.threads},
                                {"layers", plan.layers},
                                {"sampled_layers", plan.sampled_layers},
                                {"parameters", plan.parameters},
                                {"file_bytes", plan.file_bytes},
                                {"weight_bytes", plan.weight_bytes},
                                {"kv_bytes_per_token", plan.kv_token_bytes},
                                {"activation_bytes", plan.activation_bytes},
                                {"context", plan.context},
                                {"memory_bytes", plan.memory_bytes()},
                                {"step_bytes", plan.step_bytes},
                                {"decode_tok_s", plan.decode_tok_s},
                                {"decode_limit_tok_s", plan.decode_limit_tok_s},
                                {"prefill_tok_s", plan.prefill_tok_s},
                                {"prefill_limit_tok_s", plan.prefill_limit_tok_s}};
  out["traffic"] = nlohmann::ordered_json::parse(traffic_json(traffic));
  fmt::print("{}\n", out.dump(1));
}

// The speed of this machine's memory, measured once.
double memory_gb_s(const Options& options) {
  if (options.traffic.memory_gb_s > 0) return options.traffic.memory_gb_s;
  core::ThreadPool pool(options.model.threads > 0 ? options.model.threads
                                                  : core::detect_cpu().cores);
  return machine_roof(pool, kernels::best_ops().name, RoofSource::kCache).read_gb_s;
}

core::Result<void> run_geometry(const Options& options) {
  TrafficOptions traffic = options.traffic;
  traffic.geometry.name = options.model.model;
  const plan::Geometry geometry = TRY(read_geometry(traffic.geometry));
  const Subject subject{.name = std::string(geometry.name),
                        .size = TRY(size_of_geometry(traffic)),
                        .context = options.context};
  const auto found = TRY(make_traffic_report(subject, traffic, memory_gb_s(options)));
  if (options.output == "json")
    fmt::print("{}\n", traffic_json(found));
  else
    print_traffic_text(found);
  return {};
}

core::Result<void> run_file(const Options& options) {
  const auto checkpoint = TRY(open_file(options.model.model));
  const double cache_bytes = TRY(plan::bytes_per_value(options.traffic.cache));
  const Subject subject{.name = checkpoint->manifest().name,
                        .size = TRY(size_of_checkpoint(*checkpoint, cache_bytes)),
                        .context = options.context};
  const auto found = TRY(make_traffic_report(subject, options.traffic, memory_gb_s(options)));
  if (options.traffic.names_a_machine()) {
    options.output == "json" ? fmt::print("{}\n", traffic_json(found)) : print_traffic_text(found);
    return {};
  }
  const Plan plan = TRY(make_plan(options));
  if (options.output == "json") {
    print_json(plan, found);
    return {};
  }
  print_traffic_text(found);
  print_text(plan);
  return {};
}

bool is_geometry(const std::string& name) {
  return plan::find_geometry(name).ok();
}

// Shapes and formats are a file's own; only a file on this machine is timed.
void check_used(const CLI::App& app, const Options& options) {
  const auto refuse = [&](std::initializer_list<const char*> names, const char* reason) {
    for (const char* name : names)
      if (app.count(name) > 0) throw CLI::ValidationError(name, reason);
  };
  if (!is_geometry(options.model.model))
    refuse({"--layers", "--dense-layers", "--vocab", "--expert-count", "--type", "--experts"},
           "a file has its own; this is for the shapes that have a name");
  if (is_geometry(options.model.model) || options.traffic.names_a_machine())
    refuse({"--exact", "--kernels", "--n-prompt"},
           "nothing is timed here; this is for a file on this machine");
}

}  // namespace

int run_plan(int argc, char** argv) {
  Options options;
  CLI::App app{
      "Memory, traffic and speed of a model before it is loaded. MODEL is a file, or one of the\n"
      "shapes " +
          geometry_names() +
          ".\n"
          "Limits follow from the bytes that a step reads, on this machine or on one given. Of a "
          "file on\n"
          "this machine a few layers with random weights are timed besides; no tensor is read.",
      "sluice plan"};
  add_processor_options(app, &options.model);
  app.callback([&] { check_used(app, options); });
  app.add_option("--context", options.context, "tokens of KV to count; the model's if not given")
      ->check(CLI::Range(1, 1 << 24));
  app.add_option("-p,--n-prompt", options.prompt, "tokens of the prefill step")
      ->capture_default_str()
      ->check(CLI::Range(2, 8192));
  add_traffic_options(app, &options.traffic);
  add_output_option(app, &options.output);
  app.footer(
      "Examples: sluice plan model.gguf --context 8192\n"
      "          sluice plan deepseek-v3 --type FP8 --experts INT4 --memory-gb-s 600 --gpu h100");
  if (const auto parsed = parse_options(app, argc, argv); !parsed.run) return parsed.exit_code;
  const auto done = is_geometry(options.model.model) ? run_geometry(options) : run_file(options);
  return done.ok() ? 0 : report("plan", done.error());
}

}  // namespace sluice::apps
