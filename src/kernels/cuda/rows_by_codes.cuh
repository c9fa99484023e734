// The launch of rows_by_codes.cu.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/device_args.h"

namespace sluice::kernels::cuda {

// Sums of blocks that share a tile.
struct CodeScratch {
  float* parts = nullptr;        // kCodePartBytes
  uint32_t* counters = nullptr;  // kCodeCounters, zero
  int32_t looks = 0;             // DeviceLimits::tile_looks
};
inline constexpr int64_t kCodePartBytes = int64_t{32} << 20;
inline constexpr int64_t kCodeCounters = 4096;

// What rows_fit_codes() (card.h). `x`: bf16 (rows, inputs), instead of the args' input; a bias is
// left to add_bias(). With the tiles of kRowsByCodesMax rows a row's sums are the same bits,
// however many there are.
enum class CodeTiles : uint8_t { kOfTheseRows, kOfMostRows };
void rows_by_codes(const DeviceLinearArgs& args, const uint16_t* x, CodeTiles tiles,
                   const CodeScratch& scratch, cudaStream_t stream);

}  // namespace sluice::kernels::cuda
