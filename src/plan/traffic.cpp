#include "plan/traffic.h"

#include <algorithm>
#include <cmath>

namespace sluice::plan {
namespace {

struct NamedFormat {
  std::string_view name;
  double bytes;
};
// Formats of safetensors checkpoints, with their scales; W8A8 is what `synth` calls INT8.
constexpr NamedFormat kFormats[] = {
    {"FP8", 1 + 4.0 / (128 * 128)},
    {"INT8", 1},
    {"W8A8", 1},
    {"INT4", 0.5 + 2.0 / 128},
};

constexpr Gpu kGpus[] = {
    {"h100", 80, 3350}, {"h200", 141, 4800}, {"h20", 96, 4000},  {"a100", 80, 2039},
    {"l40s", 48, 864},  {"4090", 24, 1008},  {"5090", 32, 1792},
};

constexpr double kGiga = 1e9;
constexpr double kCheckpointFactor = 6;

}  // namespace

core::Result<double> bytes_per_value(std::string_view format) {
  // Folders' formats have small letters elsewhere.
  std::string upper(format);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  for (const NamedFormat& f : kFormats)
    if (f.name == upper) return f.bytes;
  if (const auto type = core::dtype_from_name(format)) {
    const core::DTypeInfo& info = core::info(*type);
    return static_cast<double>(info.block_bytes) / info.block_values;
  }
  return core::unsupported(
      "format '{}' is not known; known: FP8, INT8 (W8A8), INT4 and GGUF's types, e.g. BF16, Q4_K",
      format);
}

int64_t ModelSize::values() const {
  int64_t sum = 0;
  for (const PartSize& p : parts) sum += p.values;
  return sum;
}

double ModelSize::bytes() const {
  double sum = 0;
  for (const PartSize& p : parts) sum += p.bytes;
  return sum;
}

double ModelSize::active_values() const {
  const double share = experts > 0 ? static_cast<double>(experts_used) / experts : 0;
  auto active = static_cast<double>(values());
  active -= (1 - share) * static_cast<double>((*this)[Part::kExperts].values);
  if (!tied_embeddings) active -= static_cast<double>((*this)[Part::kEmbedding].values);
  return active;
}

ModelSize size_of(const Geometry& geometry, const Formats& formats) {
  ModelSize size;
  const PartValues values = part_values(geometry);
  for (int p = 0; p < kPartCount; ++p) {
    const auto part = static_cast<Part>(p);
    double bytes = part == Part::kExperts ? formats.expert_bytes : formats.rest_bytes;
    if (part == Part::kVectors) bytes = 4;
    size[part] = {values.of[p], static_cast<double>(values.of[p]) * bytes};
  }
  size.expert_layers = geometry.expert_layers();
  size.experts = geometry.experts.count;
  size.experts_used = geometry.experts.used;
  size.kv_token_bytes = static_cast<double>(geometry.kv_token_values()) * formats.kv_bytes;
  size.tied_embeddings = geometry.tied_embeddings;
  return size;
}

double distinct_experts(int32_t experts, int32_t used, double tokens) {
  if (experts == 0) return 0;
  const double missed = std::pow(1 - static_cast<double>(used) / experts, tokens);
  return experts * (1 - missed);
}

core::Result<Gpu> find_gpu(std::string_view name) {
  std::string known;
  for (const Gpu& g : kGpus) {
    if (g.name == name) return g;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", g.name);
  }
  return core::unsupported("GPU '{}' is not known; known: {}", name, known);
}

std::string_view name_of(Placement placement) {
  constexpr std::string_view kNames[] = {"cpu", "gpu", "hybrid"};
  return kNames[static_cast<size_t>(placement)];
}

Device device_of(Part part, Placement placement) {
  const bool stays = part == Part::kExperts || part == Part::kEmbedding;
  if (placement == Placement::kGpu || (placement == Placement::kHybrid && !stays))
    return Device::kGpu;
  return Device::kCpu;
}

double bytes_on(Device device, const ModelSize& model, Placement placement) {
  double sum = 0;
  for (int p = 0; p < kPartCount; ++p)
    if (device_of(static_cast<Part>(p), placement) == device) sum += model.parts[p].bytes;
  return sum;
}

Placement choose_placement(const ModelSize& model, const Machine& machine, double cache_bytes) {
  if (!machine.gpu) return Placement::kCpu;
  const double gpu_bytes = machine.gpu->memory_gb * kGiga * machine.gpus;
  const auto fits = [&](Placement placement) {
    return bytes_on(Device::kGpu, model, placement) + cache_bytes <= gpu_bytes;
  };
  if (fits(Placement::kGpu)) return Placement::kGpu;
  if (model.experts > 0 && fits(Placement::kHybrid)) return Placement::kHybrid;
  return Placement::kCpu;
}

StepLimits step_limits(const ModelSize& model, const Machine& machine, Placement placement,
                       const Load& load) {
  StepLimits step;
  const auto streams = static_cast<double>(load.streams);
  step.distinct_experts = distinct_experts(model.experts, model.experts_used, streams);
  if (model.experts > 0)
    step.expert_bytes = model[Part::kExperts].bytes * step.distinct_experts / model.experts;
  step.shared_bytes = model[Part::kSharedExperts].bytes;
  step.always_bytes = model[Part::kAttention].bytes + model[Part::kDenseFfn].bytes +
                      model[Part::kRouter].bytes + model[Part::kOutput].bytes +
                      model[Part::kVectors].bytes;
  if (model.tied_embeddings) step.always_bytes += model[Part::kEmbedding].bytes;
  step.cache_bytes = streams * static_cast<double>(load.context) * model.kv_token_bytes;
  const double cpu = machine.memory_gb_s * kGiga;
  const double gpu = machine.gpu ? machine.gpu->read_gb_s * kGiga * machine.gpus : cpu;
  if (placement != Placement::kHybrid) {
    const double bytes =
        step.always_bytes + step.shared_bytes + step.expert_bytes + step.cache_bytes;
    step.serial_s = step.overlapped_s = bytes / (placement == Placement::kGpu ? gpu : cpu);
    return step;
  }
  const double on_cpu = (1 - machine.gpu_expert_hits) * step.expert_bytes / cpu;
  const double hits = machine.gpu_expert_hits * step.expert_bytes;
  step.serial_s = (step.always_bytes + step.cache_bytes) / gpu +
                  std::max(on_cpu, (step.shared_bytes + hits) / gpu);
  step.overlapped_s =
      std::max(on_cpu, (step.always_bytes + step.shared_bytes + step.cache_bytes + hits) / gpu);
  return step;
}

int64_t requests_that_fit(double memory_bytes, double weight_bytes, double kv_token_bytes,
                          int64_t tokens) {
  const double left = memory_bytes - weight_bytes;
  if (left <= 0 || kv_token_bytes <= 0 || tokens <= 0) return 0;
  return static_cast<int64_t>(left / (kv_token_bytes * static_cast<double>(tokens)));
}

double checkpoint_bytes(int64_t parameters, double bytes_per_parameter) {
  return static_cast<double>(parameters) * bytes_per_parameter * kCheckpointFactor;
}

}  // namespace sluice::plan
