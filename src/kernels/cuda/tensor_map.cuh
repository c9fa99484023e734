// What the tensor memory accelerator is told of a matrix whose tiles it copies (tensor_copy.cuh).
#pragma once

#include <cudaTypedefs.h>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tensor_copy.cuh"

namespace sluice::kernels::cuda {

inline constexpr CUtensorMapDataType kBf16 = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
inline constexpr CUtensorMapDataType kF16 = CU_TENSOR_MAP_DATA_TYPE_FLOAT16;

// A matrix (rows, columns) of `type`, copied in boxes of (box_rows, box_columns).
struct MapShape {
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t row_bytes = 0;
  int box_rows = 0;
  int box_columns = 0;
  CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_128B;
};
inline CUtensorMap tensor_map(CUtensorMapDataType type, const void* data, const MapShape& shape) {
  static const auto encode = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000,
                                           cudaEnableDefault, &result),
          "cuTensorMapEncodeTiled");
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(found);
  }();
  CUtensorMap map;
  const cuuint64_t size[] = {static_cast<cuuint64_t>(shape.columns),
                             static_cast<cuuint64_t>(shape.rows)};
  const cuuint64_t row_bytes[] = {static_cast<cuuint64_t>(shape.row_bytes)};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(shape.box_columns),
                            static_cast<cuuint32_t>(shape.box_rows)};
  const cuuint32_t every[] = {1, 1};
  const CUresult made =
      encode(&map, type, 2, const_cast<void*>(data), size, row_bytes, box, every,
             CU_TENSOR_MAP_INTERLEAVE_NONE, shape.swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check(made == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue, "tensor map");
  return map;
}

// Of 16-bit values, in boxes of (box_rows, 64).
inline CUtensorMap tile_map(CUtensorMapDataType type, const void* data, int64_t rows,
                            int64_t columns, int box_rows) {
  return tensor_map(type, data, {rows, columns, columns * 2, box_rows, kTileColumns});
}
// Of bytes; boxes of kTileRowBytes a row are permuted as tiles, others are not.
inline CUtensorMap byte_map(const void* data, int64_t rows, int64_t row_bytes, int box_rows,
                            int box_bytes) {
  return tensor_map(
      CU_TENSOR_MAP_DATA_TYPE_UINT8, data,
      {rows, row_bytes, row_bytes, box_rows, box_bytes,
       box_bytes == kTileRowBytes ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE});
}

}  // namespace sluice::kernels::cuda
