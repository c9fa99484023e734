// The launch of rows_by_parts.cu.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/rows_by_codes.cuh"
#include "kernels/device_args.h"

namespace sluice::kernels::cuda {

// What parts_of_tile() (card.h) splits, into so many parts. `x`: bf16 (rows, inputs), instead of
// the args' input; a bias is left to add_bias().
void rows_by_parts(const DeviceLinearArgs& args, const uint16_t* x, int parts,
                   const CodeScratch& scratch, cudaStream_t stream);

}  // namespace sluice::kernels::cuda
