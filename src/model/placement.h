// Which weights lie where, as data. Routed experts may stay in the host's memory, where the
// processor multiplies them, layer by layer; all other weights are on the device.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace sluice::model {

enum class Place : uint8_t { kDevice, kHost };

class Placement {
 public:
  Placement() = default;  // everything on the device

  // "experts=cpu,rest=cuda", "experts[3-20]=cpu": GROUP=PLACE or GROUP[FIRST-LAST]=PLACE, of which
  // later ones win. Groups are `experts` and `rest`, places `cpu` and `cuda`. An Error says what
  // was found and what is possible.
  static core::Result<Placement> parse(std::string_view text);

  Place experts(int32_t layer) const;
  bool has_host_experts(int32_t layers) const;
  // As parse() reads it.
  std::string text() const;

  struct Rule {
    int32_t first_layer = 0;
    int32_t last_layer = INT32_MAX;
    Place place = Place::kDevice;
  };
  void add(const Rule& experts) { rules_.push_back(experts); }

 private:
  std::vector<Rule> rules_;
};

// What the machine does at most, 10^9 bytes and 10^12 operations per second; 0: not measured.
struct MachineSpeeds {
  double device_read_gb_s = 0;
  double host_read_gb_s = 0;
  double host_tops = 0;  // products of the experts' types
  double link_gb_s = 0;  // pinned memory to the device
};

// What a model needs and a device has.
struct PlacementSizes {
  int64_t rest_bytes = 0;
  std::vector<int64_t> expert_bytes{};  // by layer; 0: a dense one
  int64_t free_bytes = 0;
  int64_t table_bytes = 0;  // of rest_bytes the embedding, of which a token reads a row
  double used_share = 1;    // of a layer's experts, by one token

  // On the device, without KV and what steps need.
  int64_t device_bytes(const Placement& placement) const;
};

// The experts of the last layers go to the host until the others and `kept_bytes`, for KV and
// steps, fit on the device. An Error says what the other weights need.
core::Result<Placement> fit_experts(const PlacementSizes& sizes, int64_t kept_bytes);

// Tokens per second of one sequence without a context, if the device and then the processor each
// read at their speed what a token needs; 0: the speeds are not known.
double predict_tokens_per_s(const Placement& placement, const PlacementSizes& sizes,
                            const MachineSpeeds& speeds);

// Rows of a step from which on it takes less time to copy a layer's experts to the device than to
// compute them on the processor; INT64_MAX: the speeds are not known.
struct LayerWork {
  int64_t bytes = 0;          // of the layer's experts
  double row_operations = 0;  // of a row's experts
};
int64_t streamed_rows_min(const LayerWork& work, const MachineSpeeds& speeds);

// "experts[5-6]=cpu,rest=cuda: 12.00 GB on the device, 20.00 GB of experts in the host's memory; at
// most 150.0 tokens/s in one stream"
std::string describe(const Placement& placement, const PlacementSizes& sizes,
                     const MachineSpeeds& speeds);

// An Error says what does not fit, and which placement would.
core::Result<void> check_placement(const PlacementSizes& sizes, const Placement& placement,
                                   int64_t kept_bytes);

}  // namespace sluice::model
