// Hidden states for who looks at a step's.
#include "kernels/registry.h"
#include "model/device_forward.h"

namespace sluice::model {

void DeviceForward::observe(const HiddenObserver* observer, int32_t layer, const float* hidden,
                            int64_t rows) {
  if (observer == nullptr) return;
  std::vector<float> values(static_cast<size_t>(rows * spec_.hidden));
  download(values.data(), hidden, std::ssize(values));
  expect_same_streams(values);
  (*observer)(layer, values);
  if (layer + 1 == spec_.layers) observe_normed(*observer, weights_.output_norm, std::move(values));
}

// As the last thing that is seen.
void DeviceForward::observe_normed(const HiddenObserver& observer, Vector norm,
                                   std::vector<float> hidden) {
  std::vector<float> weight(static_cast<size_t>(spec_.hidden));
  download(weight.data(), norm, std::ssize(weight));
  kernels::reference_ops().rms_norm({.x = hidden.data(),
                                     .weight = weight.data(),
                                     .epsilon = spec_.norm_epsilon,
                                     .rows = std::ssize(hidden) / spec_.hidden,
                                     .columns = spec_.hidden,
                                     .out = hidden.data()},
                                    0, 1);
  observer(spec_.layers, hidden);
}

}  // namespace sluice::model
