// The launch of unpack.cu.
#pragma once

#include <cuda_runtime.h>

#include "kernels/device_bring.h"

namespace sluice::kernels::cuda {

// The matrix, copied to `from` on the device, at matrix.to.
void unpack(const BroughtMatrix& matrix, const std::byte* from, cudaStream_t stream);

}  // namespace sluice::kernels::cuda
