// join.cu: its launch.
#pragma once

#include <cuda_runtime.h>

#include "kernels/device_draft_args.h"

namespace sluice::kernels::cuda {

void join_rows(const DeviceJoinArgs& args, cudaStream_t stream);

}  // namespace sluice::kernels::cuda
