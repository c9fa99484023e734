#include "apps/bench/traffic_report.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "apps/model/checkpoint_matrices.h"
#include "apps/model/number_checks.h"
#include "model/matrix_finder.h"
#include "plan/sizing.h"

namespace sluice::apps {
namespace {

using plan::Part;

constexpr double kGiga = 1e9;

std::string_view name_of(plan::Device device) {
  return device == plan::Device::kGpu ? "gpu" : "cpu";
}

core::Result<plan::Machine> read_machine(const TrafficOptions& options, double memory_gb_s) {
  plan::Machine machine{.memory_gb_s = options.memory_gb_s > 0 ? options.memory_gb_s : memory_gb_s,
                        .gpus = options.gpus,
                        .gpu_expert_hits = options.gpu_expert_hits};
  if (options.gpu.empty()) return machine;
  plan::Gpu gpu = TRY(plan::find_gpu(options.gpu));
  if (options.gpu_memory_gb > 0) gpu.memory_gb = options.gpu_memory_gb;
  if (options.gpu_gb_s > 0) gpu.read_gb_s = options.gpu_gb_s;
  machine.gpu = gpu;
  return machine;
}

// Requests of the report's context beside the weights, on the GPUs where these hold the cache.
int64_t requests_that_fit(const TrafficReport& report) {
  if (!report.machine.gpu || report.placement == plan::Placement::kCpu) return 0;
  return plan::requests_that_fit(report.machine.gpu->memory_gb * kGiga * report.machine.gpus,
                                 plan::bytes_on(plan::Device::kGpu, report.size, report.placement),
                                 report.size.kv_token_bytes, report.load.context);
}

std::vector<std::string> notes_of(const TrafficReport& report) {
  const plan::SizingRow* row = plan::find_sizing(report.size.values());
  if (row == nullptr) return {};
  return plan::sizing_notes(*row, plan::computed_size(report.size, report.load));
}

std::string machine_text(const plan::Machine& machine) {
  std::string text = fmt::format("memory {:.0f} GB/s", machine.memory_gb_s);
  if (machine.gpu)
    text += fmt::format(", {} × {} ({:.0f} GB, {:.0f} GB/s)", machine.gpus, machine.gpu->name,
                        machine.gpu->memory_gb, machine.gpu->read_gb_s);
  if (machine.gpu_expert_hits > 0)
    text += fmt::format(", {:.0f} % of the routed reads on it", 100 * machine.gpu_expert_hits);
  return text;
}

}  // namespace

void add_traffic_options(CLI::App& app, TrafficOptions* options) {
  add_shape_options(app, &options->geometry);
  app.add_option("--type", options->rest,
                 "format of a geometry's matrices: FP8, INT8 (W8A8), INT4 or a GGUF type")
      ->capture_default_str();
  app.add_option("--experts", options->experts, "format of its routed experts (--type)");
  app.add_option("--kv", options->cache, "format of the cache")->capture_default_str();
  app.add_option("--streams", options->streams, "streams that step together")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--memory-gb-s", options->memory_gb_s,
                 "speed of a machine's memory, instead of measuring this one's")
      ->check(positive_number());
  auto* gpu = app.add_option("--gpu", options->gpu,
                             "GPU of that machine: h100, h200, h20, a100, l40s, 4090, …");
  app.add_option("--gpus", options->gpus, "how many")->check(CLI::Range(1, 1024))->needs(gpu);
  app.add_option("--gpu-memory-gb", options->gpu_memory_gb, "its memory, if not the usual")
      ->check(positive_number())
      ->needs(gpu);
  app.add_option("--gpu-gb-s", options->gpu_gb_s, "its memory's speed, if not the usual")
      ->check(positive_number())
      ->needs(gpu);
  app.add_option("--gpu-expert-hits", options->gpu_expert_hits,
                 "share of the routed reads that find their expert on the GPU")
      ->check(CLI::Range(0.0, 1.0))
      ->check(finite_number())
      ->needs(gpu);
}

core::Result<plan::ModelSize> size_of_checkpoint(const formats::Checkpoint& checkpoint,
                                                 double cache_bytes) {
  plan::ModelSize size;
  const std::vector<CheckpointMatrix> matrices = TRY(matrices_of(checkpoint));
  for (const CheckpointMatrix& m : matrices) {
    if (m.is_draft) continue;
    plan::ModelSize::PartSize& part = size[plan::part_of(m.name)];
    part.values += m.view.values();
    part.bytes += static_cast<double>(m.file_bytes);
  }
  const std::string prefix = checkpoint.manifest().architecture + ".";
  const auto number = [&](const char* key) {
    return checkpoint.metadata().integer_or(prefix + key, 0);
  };
  const auto layers =
      static_cast<double>(TRY(number("block_count")) - TRY(number("nextn_predict_layers")));
  size.experts = static_cast<int32_t>(TRY(number("expert_count")));
  size.experts_used = static_cast<int32_t>(TRY(number("expert_used_count")));
  size.expert_layers = size.experts > 0
                           ? static_cast<int32_t>(layers) -
                                 static_cast<int32_t>(TRY(number("leading_dense_block_count")))
                           : 0;
  size.tied_embeddings = !model::has_matrix(checkpoint, "output.weight");
  const int64_t latent = TRY(number("attention.kv_lora_rank"));
  const int64_t heads = TRY(number("attention.head_count"));
  int64_t kv_heads = TRY(number("attention.head_count_kv"));
  if (kv_heads == 0) kv_heads = heads;
  int64_t head_dim = TRY(number("attention.key_length"));
  if (head_dim == 0 && heads > 0) head_dim = TRY(number("embedding_length")) / heads;
  const int64_t token_values =
      latent > 0 ? latent + TRY(number("rope.dimension_count")) : 2 * kv_heads * head_dim;
  size.kv_token_bytes = layers * static_cast<double>(token_values) * cache_bytes;
  return size;
}

core::Result<plan::ModelSize> size_of_geometry(const TrafficOptions& options) {
  const plan::Geometry geometry = TRY(read_geometry(options.geometry));
  plan::Formats formats;
  formats.rest_bytes = TRY(plan::bytes_per_value(options.rest));
  formats.expert_bytes =
      options.experts.empty() ? formats.rest_bytes : TRY(plan::bytes_per_value(options.experts));
  formats.kv_bytes = TRY(plan::bytes_per_value(options.cache));
  return plan::size_of(geometry, formats);
}

core::Result<TrafficReport> make_traffic_report(const Subject& subject,
                                                const TrafficOptions& options, double memory_gb_s) {
  TrafficReport report{.name = subject.name,
                       .size = subject.size,
                       .machine = TRY(read_machine(options, memory_gb_s)),
                       .load = {.context = subject.context, .streams = options.streams}};
  const double cache_bytes =
      static_cast<double>(report.load.context * report.load.streams) * report.size.kv_token_bytes;
  report.placement = plan::choose_placement(report.size, report.machine, cache_bytes);
  report.limits = plan::step_limits(report.size, report.machine, report.placement, report.load);
  return report;
}

void print_traffic_text(const TrafficReport& report) {
  fmt::print("model    {}, {:.2f} billion parameters, {:.2f} read for a token\n", report.name,
             static_cast<double>(report.size.values()) / kGiga,
             report.size.active_values() / kGiga);
  fmt::print("machine  {}\n", machine_text(report.machine));
  for (int p = 0; p < plan::kPartCount; ++p) {
    const auto part = static_cast<Part>(p);
    if (report.size[part].values == 0) continue;
    fmt::print("  {:<17} {:>8.3f} billion {:>9.2f} GB on the {}\n", plan::name_of(part),
               static_cast<double>(report.size[part].values) / kGiga,
               report.size[part].bytes / kGiga, name_of(plan::device_of(part, report.placement)));
  }
  fmt::print("cache    {:.0f} bytes a token; {} streams of {} tokens: {:.2f} GB\n",
             report.size.kv_token_bytes, report.load.streams, report.load.context,
             report.limits.cache_bytes / kGiga);
  if (const int64_t requests = requests_that_fit(report); requests > 0)
    fmt::print("         room for {} requests of {} tokens beside the weights\n", requests,
               report.load.context);
  if (report.size.experts > 0)
    fmt::print("experts  {:.1f} of {} a layer in a step, {:.2f} GB\n",
               report.limits.distinct_experts, report.size.experts,
               report.limits.expert_bytes / kGiga);
  fmt::print("limit    {:.1f} tok/s, {:.1f} with perfect overlap ({} placement, reading alone)\n",
             report.limits.serial_tok_s(report.load), report.limits.overlapped_tok_s(report.load),
             plan::name_of(report.placement));
  fmt::print("training a checkpoint of {:.1f} GB in 16 bits\n",
             plan::checkpoint_bytes(report.size.values(), 2) / kGiga);
  for (const std::string& note : notes_of(report)) fmt::print("rule of thumb, {}\n", note);
}

std::string traffic_json(const TrafficReport& report) {
  nlohmann::ordered_json parts = nlohmann::ordered_json::object();
  for (int p = 0; p < plan::kPartCount; ++p) {
    const auto part = static_cast<Part>(p);
    parts[std::string(plan::name_of(part))] = {
        {"parameters", report.size[part].values},
        {"bytes", report.size[part].bytes},
        {"device", name_of(plan::device_of(part, report.placement))}};
  }
  nlohmann::ordered_json out = {
      {"name", report.name},
      {"parameters", report.size.values()},
      {"active_parameters", report.size.active_values()},
      {"parts", parts},
      {"kv_bytes_per_token", report.size.kv_token_bytes},
      {"context", report.load.context},
      {"streams", report.load.streams},
      {"cache_bytes", report.limits.cache_bytes},
      {"requests_that_fit", requests_that_fit(report)},
      {"distinct_experts", report.limits.distinct_experts},
      {"expert_step_bytes", report.limits.expert_bytes},
      {"placement", plan::name_of(report.placement)},
      {"serial_limit_tok_s", report.limits.serial_tok_s(report.load)},
      {"overlapped_limit_tok_s", report.limits.overlapped_tok_s(report.load)},
      {"checkpoint_bytes", plan::checkpoint_bytes(report.size.values(), 2)},
      {"sizing_notes", notes_of(report)}};
  return out.dump(1);
}

}  // namespace sluice::apps
