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

// What a model needs and a device has.
struct PlacementSizes {
  int64_t rest_bytes = 0;
  std::vector<int64_t> expert_bytes{};  // by layer; 0: a dense one
  int64_t free_bytes = 0;

  // On the device, without KV and what steps need.
  int64_t device_bytes(const Placement& placement) const;
};

// The experts of the last layers go to the host until the others and `kept_bytes`, for KV and
// steps, fit on the device. An Error says what the other weights need.
core::Result<Placement> fit_experts(const PlacementSizes& sizes, int64_t kept_bytes);

// "experts[5-6]=cpu,rest=cuda: 12.00 GB on the device, 20.00 GB of experts in the host's memory"
std::string describe(const Placement& placement, const PlacementSizes& sizes);

// An Error says what does not fit, and which placement would.
core::Result<void> check_placement(const PlacementSizes& sizes, const Placement& placement,
                                   int64_t kept_bytes);

}  // namespace sluice::model
