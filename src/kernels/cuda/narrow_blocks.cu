// Few rows by matrices in blocks (narrow.cuh), in whole-number arithmetic (narrow_formats.cuh),
// e4m3 in f16 (narrow_f8.cuh).
#include "kernels/cuda/narrow.cuh"
#include "kernels/cuda/narrow_f8.cuh"
#include "kernels/cuda/narrow_formats.cuh"

namespace sluice::kernels::cuda {
namespace {

void launch_type(core::DType type, const NarrowArgs& args, cudaStream_t stream) {
  switch (type) {
    case core::DType::kQ8_0:
      return launch_narrow_format<Q8Weights>(args, stream);
    case core::DType::kQ6_K:
      return launch_narrow_format<Q6Weights>(args, stream);
    case core::DType::kQ4_0:
      return launch_narrow_format<Q4Weights<false>>(args, stream);
    case core::DType::kF8_B128:
      return launch_narrow_format<F8Weights>(args, stream);
    default:
      return launch_narrow_format<Q4Weights<true>>(args, stream);
  }
}

}  // namespace

void linear_narrow_blocks(const DeviceLinearArgs& args, cudaStream_t stream) {
  launch_type(args.products[0].weights.type, narrow_args(args), stream);
}

}  // namespace sluice::kernels::cuda
