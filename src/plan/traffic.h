// Bytes that a model holds and a step reads, and the speeds that follow from reading alone.
//
// n streams step together, each with K bytes of cache; routed experts may stay in the CPU's memory
// (B bytes/s) while the rest is on GPUs (G bytes/s):
//   U(n) = E · (1 − (1 − used/E)^n)            distinct experts of a layer, tokens independent
//   C = stored bytes of the experts · U / E;  A = attention + dense FFN + router + output + norms;
//   S = shared experts
//   serial      t = A/G + n·K/G + max((1−f)·C/B, (S + f·C)/G)
//   overlapped  t = max((1−f)·C/B, (A + S + n·K + f·C)/G)
// f is the share of the routed reads that hit experts held on the GPU. With everything on one kind
// of memory both are the sum of the bytes over its speed.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/dtype.h"
#include "core/result.h"
#include "plan/geometry.h"

namespace sluice::plan {

// Bytes of a stored value by the name of a format: a type of GGUF, or FP8 (128×128 blocks), INT8
// (a scale a row), INT4 (groups of 128). An Error lists all.
core::Result<double> bytes_per_value(std::string_view format);

// A model as traffic sees it.
struct ModelSize {
  struct PartSize {
    int64_t values = 0;
    double bytes = 0;
  };
  std::array<PartSize, kPartCount> parts{};
  int32_t expert_layers = 0;
  int32_t experts = 0;       // of a layer
  int32_t experts_used = 0;  // by a token
  double kv_token_bytes = 0;
  bool tied_embeddings = false;  // then the output reads the embedding

  const PartSize& operator[](Part part) const { return parts[static_cast<size_t>(part)]; }
  PartSize& operator[](Part part) { return parts[static_cast<size_t>(part)]; }
  int64_t values() const;
  double bytes() const;
  // Values that a token's products read: experts only as many as it uses.
  double active_values() const;
};

struct Formats {
  double rest_bytes = 2;  // of a value
  double expert_bytes = 2;
  double kv_bytes = 2;
};
ModelSize size_of(const Geometry& geometry, const Formats& formats);

double distinct_experts(int32_t experts, int32_t used, double tokens);

struct Gpu {
  std::string_view name;
  double memory_gb = 0;
  double read_gb_s = 0;
};
core::Result<Gpu> find_gpu(std::string_view name);

struct Machine {
  double memory_gb_s = 0;      // of the CPU's memory
  std::optional<Gpu> gpu{};    // none: all on the CPU
  int32_t gpus = 1;            // a model is spread over them evenly
  double gpu_expert_hits = 0;  // f above
};

enum class Placement { kCpu, kGpu, kHybrid };
std::string_view name_of(Placement placement);
enum class Device { kCpu, kGpu };
// Hybrid keeps the routed experts, and the embedding of which a token reads a row, on the CPU.
Device device_of(Part part, Placement placement);
double bytes_on(Device device, const ModelSize& model, Placement placement);
// All on the GPUs where weights and cache fit there, else hybrid where the model has experts.
Placement choose_placement(const ModelSize& model, const Machine& machine, double cache_bytes);

struct Load {
  int64_t context = 0;  // tokens of each stream's cache that a step reads
  int64_t streams = 1;
};

struct StepLimits {
  double distinct_experts = 0;  // of a layer
  double expert_bytes = 0;      // C
  double always_bytes = 0;      // A
  double shared_bytes = 0;      // S
  double cache_bytes = 0;       // of all streams
  double serial_s = 0;
  double overlapped_s = 0;

  double serial_tok_s(const Load& load) const {
    return static_cast<double>(load.streams) / serial_s;
  }
  double overlapped_tok_s(const Load& load) const {
    return static_cast<double>(load.streams) / overlapped_s;
  }
};
StepLimits step_limits(const ModelSize& model, const Machine& machine, Placement placement,
                       const Load& load);

// Requests of `tokens` tokens whose caches fit beside the weights.
int64_t requests_that_fit(double memory_bytes, double weight_bytes, double kv_token_bytes,
                          int64_t tokens);

// Weights, gradients, and an optimizer's state in training: 6 times the weights.
double checkpoint_bytes(int64_t parameters, double bytes_per_parameter);

}  // namespace sluice::plan
