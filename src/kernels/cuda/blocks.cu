// Matrices in blocks as bf16, for products of many rows: read once, written once.
#include "kernels/cuda/block_values.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ops.cuh"
#include "kernels/device_weights.h"

namespace sluice::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kValues = kBlockValues;  // of a thread: consecutive inputs of an output

template <core::DType kType>
__global__ void decode_kernel(BlockMatrix matrix, uint16_t* out, int64_t count) {
  let_next_start();
  wait_for_previous();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  float v[kValues];
  decode_eight<kType>(matrix, i, v);
  reinterpret_cast<uint4*>(out)[i] = {bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]),
                                      bf16_pair(v[4], v[5]), bf16_pair(v[6], v[7])};
}

}  // namespace

void decode_to_bf16(const PackedWeights& w, uint16_t* out, cudaStream_t stream) {
  const int64_t count = w.outputs * w.inputs / kValues;
  const BlockMatrix matrix{
      reinterpret_cast<const uint8_t*>(w.data),
      reinterpret_cast<const uint8_t*>(w.data) + w.outputs * w.inputs / 2,
      reinterpret_cast<const __half*>(w.data + device_scales_at(w.type, w.outputs, w.inputs))};
  const LaunchShape shape{dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads)), kThreads,
                          0, stream};
  switch (w.type) {
    case core::DType::kQ8_0:
      return launch("decode", decode_kernel<core::DType::kQ8_0>, shape, matrix, out, count);
    case core::DType::kF8_B128:
      return launch("decode", decode_kernel<core::DType::kF8_B128>, shape, matrix, out, count);
    case core::DType::kQ6_K:
      return launch("decode", decode_kernel<core::DType::kQ6_K>, shape, matrix, out, count);
    case core::DType::kQ4_0:
      return launch("decode", decode_kernel<core::DType::kQ4_0>, shape, matrix, out, count);
    default:
      return launch("decode", decode_kernel<core::DType::kQ4_1>, shape, matrix, out, count);
  }
}

}  // namespace sluice::kernels::cuda
