// What a model holds and reads, and the limits that follow for a machine: the part of `sluice plan`
// that needs no weights and runs nothing.
#pragma once

#include <string>

#include "apps/model/geometry_options.h"
#include "core/result.h"
#include "formats/checkpoint.h"
#include "plan/traffic.h"

namespace CLI {
class App;
}

namespace sluice::apps {

struct TrafficOptions {
  GeometryOptions geometry;
  std::string rest = "BF16";  // format of a geometry's matrices
  std::string experts;        // empty: as the rest
  std::string cache = "BF16";
  int64_t streams = 1;
  double memory_gb_s = 0;  // 0: this machine's
  std::string gpu;
  int32_t gpus = 1;
  double gpu_memory_gb = 0, gpu_gb_s = 0;  // 0: the GPU's
  double gpu_expert_hits = 0;

  bool names_a_machine() const { return memory_gb_s > 0 || !gpu.empty(); }
};
void add_traffic_options(CLI::App& app, TrafficOptions* options);

struct TrafficReport {
  std::string name;
  plan::ModelSize size;
  plan::Machine machine;
  plan::Placement placement = plan::Placement::kCpu;
  plan::Load load;
  plan::StepLimits limits{};
};

// Of a file: its tensors as stored.
core::Result<plan::ModelSize> size_of_checkpoint(const formats::Checkpoint& checkpoint,
                                                 double cache_bytes);
// Of a published model's shapes in the formats of the options.
core::Result<plan::ModelSize> size_of_geometry(const TrafficOptions& options);

struct Subject {
  std::string name;
  plan::ModelSize size;
  int64_t context = 0;
};
// `memory_gb_s`: of this machine, where the options name no other.
core::Result<TrafficReport> make_traffic_report(const Subject& subject,
                                                const TrafficOptions& options, double memory_gb_s);

void print_traffic_text(const TrafficReport& report);
// A JSON object.
std::string traffic_json(const TrafficReport& report);

}  // namespace sluice::apps
