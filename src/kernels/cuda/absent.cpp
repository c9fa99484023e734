// What a build without the CUDA compiler answers.
#include "kernels/cuda/open_cuda.h"

namespace sluice::kernels {

core::Result<std::unique_ptr<Device>> open_cuda(int32_t, int32_t) {
  return core::unsupported("this build has no CUDA code (make cuda builds it)");
}

core::Result<std::vector<std::shared_ptr<Device>>> open_cuda_cards(std::span<const int32_t>) {
  return open_cuda().error();
}

}  // namespace sluice::kernels
