// What a build without the CUDA compiler answers.
#include "kernels/cuda/open_cuda.h"

namespace sluice::kernels {

core::Result<std::unique_ptr<Device>> open_cuda() {
  return core::unsupported("this build has no CUDA code (make cuda builds it)");
}

}  // namespace sluice::kernels
