#include "apps/model/model_options.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include <CLI/CLI.hpp>

#include "apps/bench/roof.h"
#include "apps/process/resident_bytes.h"
#include "apps/terminal/help_formatter.h"
#include "apps/terminal/progress.h"
#include "core/cpu.h"
#include "core/math.h"
#include "kernels/cuda/open_cuda.h"
#include "kernels/registry.h"
#include "model/cards.h"

namespace sluice::apps {

void add_processor_options(CLI::App& app, ModelOptions* options) {
  app.add_option("MODEL", options->model,
                 "GGUF file, any part of a split one, or a Hugging Face folder")
      ->required();
  app.add_option("-t,--threads", options->threads, "threads; every core if not given")
      ->check(CLI::Range(1, 1024));
  app.add_flag("--exact", options->exact,
               "reference kernels with float32 activations and KV: slow, for comparison");
  app.add_option("--kernels", options->kernels,
                 "kernel table by name instead of the best for this machine");
}

void add_model_options(CLI::App& app, ModelOptions* options) {
  add_processor_options(app, options);
  app.add_option(
         "--kv-type", options->kv_type,
         "keys and values: f16, bf16 (AMX), q8 (half the memory), or what the kernels read best")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "f16", "bf16", "q8"}));
  auto* device =
      app.add_option(
             "--device", options->device,
             "where weights and KV lie and steps run: cpu; cuda, the first card if there is "
             "one; 'cuda:1'; or 'cuda:0,cuda:1', split over these")
          ->capture_default_str()
          ->check([](const std::string& text) {
            const auto cards = model::parse_cards(text);
            return cards.ok() ? std::string() : cards.error().message;
          });
  app.add_option("--place", options->place, std::string(model::kPlacementHelp))->needs(device);
  app.add_flag("--deterministic", options->is_deterministic,
               "with a device, the same output whatever runs beside a request and whatever of its "
               "prompt is cached, as on the processor; slower; not with resident or deferred "
               "experts or a given link=…")
      ->needs(device);
  app.add_option("--prefer-resident", options->hybrid.preference,
                 "in decode steps, scores of experts that are on the device besides count 1 + this "
                 "many times; changes answers")
      ->needs(device)
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--defer-experts", options->hybrid.deferred,
                 "in decode steps, of each token's experts on the host those of the least weight "
                 "that are added a layer later; changes answers")
      ->needs(device)
      ->check(CLI::Range(0, 64));
}

void add_output_option(CLI::App& app, std::string* output) {
  app.add_option("-o,--output", *output, "text or json")
      ->capture_default_str()
      ->check(CLI::IsMember({"text", "json"}));
}

namespace {

std::optional<kernels::KvFormat> kv_format_of(const std::string& type) {
  if (type == "f16") return kernels::KvFormat::kF16;
  if (type == "bf16") return kernels::KvFormat::kBf16;
  if (type == "q8") return kernels::KvFormat::kInt8;
  return std::nullopt;
}

// None: the processor. Without a card `cuda` still runs, and one line says where; a card that is
// named must be there.
core::Result<std::vector<std::shared_ptr<kernels::Device>>> open_devices(
    const ModelOptions& options) {
  const std::vector<int32_t> cards = TRY(model::parse_cards(options.device));
  std::vector<std::shared_ptr<kernels::Device>> devices;
  if (cards.empty()) return devices;
  auto opened = kernels::open_cuda_cards(cards);
  if (opened.ok()) return std::move(*opened);
  const std::string option = fmt::format("--device {}", options.device);
  if (options.device != "cuda") return opened.error().within(option);
  fmt::print(stderr, "{}: {}; running on the processor\n", option, opened.error().message);
  return devices;
}

// Of this machine: the processor's are measured once and kept.
core::Result<model::MachineSpeeds> speeds_of(kernels::Device& device, const ModelOptions& options,
                                             int threads) {
  const auto* ops = TRY(kernels::select_ops(core::detect_cpu(), options.kernels));
  const kernels::DeviceRoof card = device.measure_roof();
  std::optional<kernels::Roof> host = known_roof(threads, ops->name);
  if (!host) {
    core::ThreadPool pool(threads);
    host = machine_roof(pool, ops->name, RoofSource::kMeasure);
  }
  const int32_t sharers = device.info().sharers;
  return model::MachineSpeeds{.device_read_gb_s = card.read_gb_s / sharers,
                              .host_read_gb_s = host->read_gb_s,
                              .host_tops = host->int8_tops,
                              .link_gb_s = card.link_gb_s / sharers};
}

// None: as many experts on the device as fit.
core::Result<std::optional<model::Placement>> placement_of(const ModelOptions& options) {
  if (options.place == "auto") return std::optional<model::Placement>();
  return std::optional(TRY(model::Placement::parse(options.place)));
}

}  // namespace

core::Result<OpenedModel> open_model(const ModelOptions& options, int32_t step_tokens_max,
                                     int64_t kv_tokens) {
  auto checkpoint = TRY(model::open_checkpoint(options.model));
  return open_model(options, std::move(checkpoint), step_tokens_max, kv_tokens);
}

core::Result<OpenedModel> open_model(const ModelOptions& options,
                                     std::unique_ptr<formats::Checkpoint> checkpoint,
                                     int32_t step_tokens_max, int64_t kv_tokens) {
  OpenedModel opened;
  opened.checkpoint = std::move(checkpoint);
  const auto devices = TRY(open_devices(options));
  Progress progress("loading");
  model::LoadOptions load{
      .threads = options.threads > 0 ? options.threads : core::detect_cpu().cores,
      .step_tokens_max = step_tokens_max,
      .arithmetic = options.exact ? model::Arithmetic::kExact : model::Arithmetic::kFast,
      .kv_format = kv_format_of(options.kv_type),
      .drafts = options.drafts,
      .kernels = options.kernels,
      .device = devices.empty() ? nullptr : devices.front(),
      .placement = TRY(placement_of(options)),
      .placed =
          [&](const std::string& line) {
            fmt::print(stderr, "{}\n", line);
            opened.placement += opened.placement.empty() ? line : "; " + line;
          },
      .kv_bytes = options.kv_bytes,
      .host_bytes = machine_memory_bytes(),
      .hybrid = options.hybrid,
      .is_deterministic = options.is_deterministic,
      .progress = [&](int64_t done, int64_t total) { progress.update(done, total); }};
  if (devices.size() > 1) load.other_cards.assign(devices.begin() + 1, devices.end());
  if (load.device != nullptr && !options.place.empty())
    load.speeds = TRY(speeds_of(*load.device, options, load.threads));
  auto loaded = model::Model::load(*opened.checkpoint, load);
  progress.finish();
  if (!loaded.ok()) return loaded.error().within(fmt::format("'{}'", options.model));
  opened.model = std::move(*loaded);
  TRY(opened.model->allocate_kv(core::div_ceil(kv_tokens, kernels::kPageTokens)));
  return opened;
}

std::string kernels_name(const model::Model& model) {
  const kernels::Device* device = model.device();
  if (device == nullptr) return std::string(model.ops().name);
  const std::string count = model.cards() > 1 ? fmt::format("{} × ", model.cards()) : "";
  return fmt::format("{} ({}{})", device->info().backend, count, device->info().name);
}

ParseOutcome parse_options(CLI::App& app, int argc, char** argv) {
  format_help(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ExtrasError&) {
    std::vector<std::string> extras = app.remaining(true);  // as typed; CLI11 says them in reverse
    std::reverse(extras.begin(), extras.end());
    app.exit(CLI::ExtrasError(std::move(extras)));
    return {.run = false, .exit_code = 2};
  } catch (const CLI::ParseError& error) {
    return {.run = false, .exit_code = app.exit(error) == 0 ? 0 : 2};
  }
  return {.run = true, .exit_code = 0};
}

int report(const char* verb, const core::Error& error) {
  fmt::print(stderr, "sluice {}: {}\n", verb, error.message);
  return 1;
}

}  // namespace sluice::apps
