// What the tensor memory accelerator is told of a matrix whose tiles it copies (tensor_copy.cuh).
#pragma once

#include <cudaTypedefs.h>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tensor_copy.cuh"

namespace sluice::kernels::cuda {

inline constexpr CUtensorMapDataType kBf16 = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
inline constexpr CUtensorMapDataType kF16 = CU_TENSOR_MAP_DATA_TYPE_FLOAT16;

// A matrix of 16-bit values (rows, columns), copied in boxes of (box_rows, 64).
inline CUtensorMap tile_map(CUtensorMapDataType type, const void* data, int64_t rows,
                            int64_t columns, int box_rows) {
  static const auto encode = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000,
                                           cudaEnableDefault, &result),
          "cuTensorMapEncodeTiled");
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(found);
  }();
  CUtensorMap map;
  const cuuint64_t size[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t row_bytes[] = {static_cast<cuuint64_t>(columns) * 2};
  const cuuint32_t box[] = {kTileColumns, static_cast<cuuint32_t>(box_rows)}, every[] = {1, 1};
  const CUresult made =
      encode(&map, type, 2, const_cast<void*>(data), size, row_bytes, box, every,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check(made == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue, "tensor map");
  return map;
}

}  // namespace sluice::kernels::cuda
