// The launches of pull.cu.
#pragma once

#include <cuda_runtime.h>

#include "kernels/device_pull.h"

namespace sluice::kernels::cuda {

void pick(const DevicePickArgs& args, cudaStream_t stream);
void pull(const DevicePullArgs& args, cudaStream_t stream);

}  // namespace sluice::kernels::cuda
