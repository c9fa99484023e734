#include "apps/bench/report_measure.h"

#include <algorithm>
#include <filesystem>

#include <fmt/core.h>
#include <sys/utsname.h>

#include "apps/bench/engine_load.h"
#include "apps/bench/step_parts.h"
#include "apps/model/checkpoint_matrices.h"
#include "apps/process/resident_bytes.h"
#include "core/rng.h"
#include "plan/traffic.h"

namespace sluice::apps {
namespace {

// A name that `sluice synth` gives.
constexpr std::string_view kRandomName = "random ";

// What was measured with one number of streams.
struct Measurement {
  int32_t streams = 0;
  std::vector<LoadTimes> cold, cached;  // by repetition
  std::vector<DecodeSteps> decode;      // of the cold ones
  double host_read_gb_s = 0;  // mean of what was measured around them; 0: no step reads it
  DecodeProfile profile;
};

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  const double median =
      values.size() % 2 == 0 ? (values[half - 1] + values[half]) / 2 : values[half];
  return {.median = median, .least = values.front(), .most = values.back()};
}

// Of all streams of all repetitions.
template <typename Value>
Spread spread_of(const std::vector<LoadTimes>& runs, const Value& value) {
  std::vector<double> values;
  for (const LoadTimes& run : runs)
    for (const engine::FinishEvent& end : run.ends) values.push_back(value(end));
  return spread_of(std::move(values));
}

double ttft_ms(const engine::FinishEvent& end) {
  return static_cast<double>(end.queue_ns + end.prefill_ns) * 1e-6;
}

double tpot_ms(const engine::FinishEvent& end) {
  return static_cast<double>(end.decode_ns) * 1e-6 / static_cast<double>(end.completion_tokens - 1);
}

std::vector<std::vector<int32_t>> random_prompts(int32_t streams, int32_t tokens, int32_t vocab) {
  core::Rng rng(1);
  std::vector<std::vector<int32_t>> prompts(static_cast<size_t>(streams));
  for (std::vector<int32_t>& prompt : prompts)
    for (int32_t t = 0; t < tokens; ++t) prompt.push_back(static_cast<int32_t>(rng.below(vocab)));
  return prompts;
}

EngineLoad::Config engine_config(const ReportLoad& load, int32_t streams) {
  return {.streams = streams,
          .tokens_max = int64_t{load.input_tokens} + load.output_tokens,
          .step_tokens_max = std::max(load.step_tokens, streams + 1)};
}

Measurement measure(model::Model& model, const ReportLoad& load, int32_t streams) {
  EngineLoad engine(model, engine_config(load, streams));
  Load whole{.prompts = random_prompts(streams, load.input_tokens, model.spec().vocab),
             .answer_tokens = load.output_tokens,
             .temperature = static_cast<float>(load.temperature)};
  Load first_token = whole;
  first_token.answer_tokens = 1;
  Load warm_up = whole;
  for (std::vector<int32_t>& prompt : warm_up.prompts)
    prompt.resize(std::min<size_t>(prompt.size(), 64));
  warm_up.answer_tokens = std::min<int64_t>(load.output_tokens, 8);
  engine.run(warm_up, PrefixCache::kForget);
  Measurement measured;
  measured.streams = streams;
  // Memory that others use too is faster in one minute than in another.
  const auto read_memory = [&] {
    if (reads_host_memory(model))
      measured.host_read_gb_s += kernels::measure_read(model.pool()) / (load.repeats + 1);
  };
  read_memory();
  for (int32_t r = 0; r < load.repeats; ++r) {
    measured.cold.push_back(engine.run(whole, PrefixCache::kForget));
    measured.decode.push_back(engine.decode());
    measured.cached.push_back(engine.run(first_token, PrefixCache::kKeep));
    read_memory();
  }
  measured.profile = engine.profile(whole);
  return measured;
}

size_t median_run(const std::vector<LoadTimes>& runs) {
  std::vector<size_t> order(runs.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return runs[a].wall_s < runs[b].wall_s; });
  return order[order.size() / 2];
}

// Matrices that latent attention reads beside its keys and values.
bool is_of_heads(std::string_view tensor) {
  return tensor.find("_k_b.") != tensor.npos || tensor.find("_v_b.") != tensor.npos ||
         tensor.find("_kv_b.") != tensor.npos;
}

// Of a step whose keys and values hold `context_tokens`. Of routed experts on the host those that
// the device has besides are read there; what it takes over the link is read in the host's memory,
// and bound by that.
std::vector<PartRead> reads_of(const model::Model& model, const Roofs& roofs,
                               const DecodeProfile& profile, double context_tokens) {
  const bool has_device = model.device() != nullptr;
  const model::Weights& weights = model.weights();
  double bytes[2][plan::kPartCount] = {};  // on the processor, on the device
  double pulled_bytes = 0;
  double head_bytes = 0;  // of latent attention's own matrices, where all else is
  for (const model::MatrixSource& source : weights.sources) {
    const bool on_device = has_device && !weights.is_on_host(*source.matrix);
    const plan::Part part =
        source.matrix == &weights.output ? plan::Part::kOutput : plan::part_of(source.tensor);
    const bool is_routed = source.token_share < 1;
    const double read = static_cast<double>(source.file_bytes) * source.token_share *
                        (is_routed ? profile.expert_ratio : 1);
    const double on_device_share = on_device ? 1 : is_routed ? profile.resident_hits : 0;
    if (is_of_heads(source.tensor)) {
      head_bytes += read;
      continue;
    }
    const double pulled = is_routed ? read * (1 - on_device_share) * profile.pulled_share : 0;
    pulled_bytes += pulled;
    bytes[0][static_cast<int>(part)] += read * (1 - on_device_share) - pulled;
    bytes[1][static_cast<int>(part)] += read * on_device_share;
  }
  bytes[has_device ? 1 : 0][static_cast<int>(plan::Part::kVectors)] +=
      static_cast<double>(weights.vector_file_bytes);
  std::vector<PartRead> reads;
  const auto add = [&](std::string_view part, bool on_device, double part_bytes) {
    const kernels::Roof& roof = on_device ? roofs.device : roofs.host;
    if (part_bytes > 0)
      reads.push_back({.part = std::string(part),
                       .place = on_device ? "device" : "processor",
                       .bytes = part_bytes,
                       .limit_us = part_bytes / (roof.read_gb_s * 1e3)});
  };
  for (int p = 0; p < plan::kPartCount; ++p)
    for (const bool on_device : {false, true})
      add(plan::name_of(static_cast<plan::Part>(p)), on_device, bytes[on_device ? 1 : 0][p]);
  if (pulled_bytes > 0)
    reads.push_back({.part = std::string(kPulledExperts),
                     .place = "device",
                     .bytes = pulled_bytes,
                     .limit_us = pulled_bytes / (roofs.host.read_gb_s * 1e3)});
  add("attention's heads", has_device, head_bytes);
  add("keys and values", has_device,
      context_tokens * static_cast<double>(model.memory_plan().kv_token_bytes));
  return reads;
}

DecodeRow decode_row(const model::Model& model, const Measurement& measured,
                     const DecodeSteps& steps, const Roofs& roofs) {
  const model::Spec& spec = model.spec();
  DecodeRow row{
      .steps = steps.count, .step_us = steps.step_us(), .host_read_gb_s = measured.host_read_gb_s};
  row.tok_s = measured.streams * 1e6 / row.step_us;
  row.is_hybrid = model.device() != nullptr && reads_host_memory(model);
  const double ratio = measured.profile.expert_ratio;
  if (spec.experts.count > 0) {
    row.experts_per_step = ratio * spec.experts.used;
    row.experts_expected =
        plan::distinct_experts(spec.experts.count, spec.experts.used, measured.streams);
  }
  const double context =
      static_cast<double>(steps.context_tokens) / static_cast<double>(steps.count);
  row.reads = reads_of(model, roofs, measured.profile, context);
  row.resident_hits = measured.profile.resident_hits;
  for (const PartRead& read : row.reads) row.limit_us += read.limit_us;
  row.fixed_us_per_layer = (row.step_us - row.limit_us) / spec.layers;
  row.times = times_of_parts({.reads = row.reads,
                              .forward = measured.profile.shares,
                              .has_device = model.device() != nullptr,
                              .is_hybrid = row.is_hybrid,
                              .sampling_us = steps.mean_us(steps.sampling_ns),
                              .other_us = steps.mean_us(steps.other_ns)});
  row.profiled_step_us =
      measured.profile.shares.whole_us + steps.mean_us(steps.sampling_ns + steps.other_ns);
  return row;
}

ReportRow report_row(const model::Model& model, const ReportLoad& load, const Measurement& measured,
                     const Roofs& roofs) {
  const size_t median = median_run(measured.cold);
  const LoadTimes& run = measured.cold[median];
  ReportRow row{.streams = measured.streams,
                .ttft_cold_ms = spread_of(measured.cold, ttft_ms),
                .ttft_cached_ms = spread_of(measured.cached, ttft_ms),
                .cached_tokens = measured.cached.front().ends.front().cached_tokens,
                .tpot_ms = spread_of(measured.cold, tpot_ms),
                .generated_tokens = run.answer_tokens(),
                .wall_s = run.wall_s,
                .prefill_s = run.prefill_s};
  row.output_tok_s = static_cast<double>(row.generated_tokens) / row.wall_s;
  row.prefill_tok_s = int64_t{load.input_tokens} * measured.streams / row.prefill_s;
  const kernels::Roof& roof = model.device() != nullptr ? roofs.device : roofs.host;
  Roofs beside = roofs;
  if (measured.host_read_gb_s > 0) beside.host.read_gb_s = measured.host_read_gb_s;
  row.prefill_roof_share =
      model.memory_plan().token_operations * row.prefill_tok_s * 1e-12 / roof_tera_ops(roof, model);
  row.decode = decode_row(model, measured, measured.decode[median], beside);
  return row;
}

std::string system_text() {
  utsname names{};
  uname(&names);
  return fmt::format("{} {}", names.sysname, names.release);
}

ReportMachine machine_of(model::Model& model) {
  ReportMachine machine{.cpu = core::detect_cpu(),
                        .threads = model.pool().threads(),
                        .memory_bytes = machine_memory_bytes(),
                        .system = system_text()};
  if (model.device() != nullptr) machine.device = model.device()->info();
  return machine;
}

std::string weights_text(const BenchedModelOptions& options) {
  if (!options.is_synthetic())
    return "from " + std::filesystem::path(options.model.model).filename().string();
  const WeightTypeOptions& types = options.weights;
  return fmt::format(
      "made at random at the shapes of {} (experts {}, rest {}, router skew {}, seed {})",
      options.synth.name, types.experts.empty() ? "Q4_0" : types.experts, types.rest,
      types.router_skew, types.seed);
}

ReportModel model_of(const ReportOptions& options, const OpenedModel& opened) {
  const formats::Manifest& manifest = opened.checkpoint->manifest();
  const model::Model& model = *opened.model;
  const model::MemoryPlan& plan = model.memory_plan();
  ReportModel found{
      .name = manifest.name,
      .architecture = manifest.architecture,
      .digest = manifest.digest,
      .weights = weights_text(options.benched),
      .is_synthetic = options.benched.is_synthetic() || manifest.name.starts_with(kRandomName),
      .layers = model.spec().layers,
      .experts = model.spec().experts.count,
      .experts_used = model.spec().experts.used,
      .file_bytes = manifest.weights_bytes,
      .weight_bytes = plan.weight_bytes,
      .kv_token_bytes = plan.kv_token_bytes,
      .kernels = kernels_name(model),
      .placement = opened.placement};
  const auto matrices = matrices_of(*opened.checkpoint).value();  // it is loaded
  for (const CheckpointMatrix& m : matrices) found.parameters += m.view.values();
  if (found.placement.empty())
    found.placement =
        model.device() != nullptr ? "everything on the device" : "everything on the processor";
  return found;
}

}  // namespace

core::Result<void> measure_engine(const ReportOptions& options, Report* report) {
  const core::SystemClock clock;
  const int64_t begin_ns = clock.now_ns();
  const ReportLoad& load = options.load;
  const int32_t streams_max =
      *std::max_element(options.stream_counts.begin(), options.stream_counts.end());
  const EngineLoad::Config widest = engine_config(load, streams_max);
  const OpenedModel opened =
      TRY(open_benched_model(options.benched, static_cast<int32_t>(widest.step_tokens_max),
                             EngineLoad::kv_tokens(widest, load.output_tokens)));
  model::Model& model = *opened.model;
  report->model = model_of(options, opened);
  report->model.load_s = static_cast<double>(clock.now_ns() - begin_ns) * 1e-9;
  report->machine = machine_of(model);
  const bool is_known =
      options.roof == RoofSource::kCache && known_roof(model.pool().threads(), model.ops().name);
  report->machine.limits_from =
      is_known ? "measured on this machine before" : "measured for this report";
  report->machine.roofs = measure_roofs(model, options.roof);

  std::vector<Measurement> measured;
  for (const int32_t streams : options.stream_counts) {
    measured.push_back(measure(model, load, streams));
    const std::vector<DecodeSteps>& decode = measured.back().decode;
    if (std::any_of(decode.begin(), decode.end(),
                    [](const DecodeSteps& steps) { return steps.count == 0; }))
      return core::invalid(
          "no step in which all {} streams decoded: the first answers ended before the last prompt "
          "was read; --n-gen {} is too few",
          streams, load.output_tokens);
    fmt::print(stderr, "{} streams: {:.1f} tok/s in steps that only decode\n", streams,
               streams * 1e6 / decode.front().step_us());
  }
  const auto make_rows = [&] {
    report->rows.clear();
    for (const Measurement& one : measured)
      report->rows.push_back(report_row(model, load, one, report->machine.roofs));
  };
  make_rows();
  const bool is_above =
      std::any_of(report->rows.begin(), report->rows.end(), [](const ReportRow& row) {
        return row.decode.roof_share() > 1 || row.prefill_roof_share > 1;
      });
  if (is_above) {
    // No limit can be passed: it was measured while the machine had other work.
    report->machine.roofs = measure_roofs(model, RoofSource::kMeasure);
    report->machine.limits_from = "measured for this report";
    for (Measurement& one : measured)
      if (one.host_read_gb_s > 0)
        one.host_read_gb_s = std::max(one.host_read_gb_s, report->machine.roofs.host.read_gb_s);
    make_rows();
  }
  return {};
}

}  // namespace sluice::apps
