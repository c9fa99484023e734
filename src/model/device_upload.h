// Weights on their way to a device.
#pragma once

#include <cstddef>
#include <vector>

#include "model/planned_weights.h"

namespace sluice::model {

// Packs matrix by matrix in the host's memory and copies each to the device, the embedding first.
class DeviceUpload {
 public:
  DeviceUpload(const WeightLoader& loader, const std::vector<PlannedMatrix>& planned,
               formats::Problems* problems)
      : loader_(loader), planned_(planned), problems_(*problems) {}

  PlacementSizes sizes(const Weights& weights) const;
  core::Result<void> run(Weights* weights);

 private:
  void upload_table(core::TensorView* table);
  void upload_matrix(const PlannedMatrix& planned);
  const std::byte* kept_blocks(const PlannedMatrix& planned);

  const WeightLoader& loader_;
  const std::vector<PlannedMatrix>& planned_;
  formats::Problems& problems_;
  std::byte* to_ = nullptr;
  std::vector<std::byte> blocks_;
  std::vector<std::byte> kept_;
  std::vector<std::byte> packed_;
};

}  // namespace sluice::model
