// The launch of sum.cu.
#pragma once

#include <cuda_runtime.h>

#include "kernels/device_sum_args.h"

namespace sluice::kernels::cuda {

void sum(const DeviceSumArgs& args, cudaStream_t stream);

}  // namespace sluice::kernels::cuda
