// The launches of handover.cu.
#pragma once

#include <cuda_runtime.h>

#include "kernels/device_handover.h"

namespace sluice::kernels::cuda {

void post(const DevicePostArgs& args, cudaStream_t stream);
void post_guess(const DeviceGuessArgs& args, cudaStream_t stream);
void collect(const DeviceCollectArgs& args, cudaStream_t stream);

}  // namespace sluice::kernels::cuda
