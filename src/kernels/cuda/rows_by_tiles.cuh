// The launch of rows_by_tiles.cu.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/device_args.h"

namespace sluice::kernels::cuda {

// Up to kRowsByTilesMax rows by matrices in bf16 whose outputs are even and inputs a multiple of 8.
// `x`: bf16 (rows, inputs), instead of the args' input. Not what is added to y.
inline constexpr int kRowsByTilesMax = 64;
bool rows_fit_tiles(const DeviceLinearArgs& args);
void rows_by_tiles(const DeviceLinearArgs& args, const uint16_t* x, cudaStream_t stream);

}  // namespace sluice::kernels::cuda
