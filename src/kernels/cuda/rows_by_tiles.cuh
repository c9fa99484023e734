// The launch of rows_by_tiles.cu.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/device_args.h"

namespace sluice::kernels::cuda {

// What rows_fit_tiles() (card.h). `x`: bf16 (rows, inputs), instead of the args' input.
void rows_by_tiles(const DeviceLinearArgs& args, const uint16_t* x, cudaStream_t stream);

}  // namespace sluice::kernels::cuda
