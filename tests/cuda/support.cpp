#include "tests/cuda/support.h"

namespace sluice::kernels {

const Card& card() {
  static const Card opened = [] {
    auto device = open_cuda();
    return device.ok() ? Card{std::move(*device), {}} : Card{nullptr, device.error().message};
  }();
  return opened;
}

}  // namespace sluice::kernels
