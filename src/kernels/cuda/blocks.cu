// Matrices in blocks as bf16, for products of many rows: read once, written once.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ops.cuh"
#include "kernels/device_weights.h"

namespace sluice::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kValues = 8;  // of a thread: consecutive inputs of an output

struct Matrix {
  const uint8_t* codes = nullptr;
  const uint8_t* high = nullptr;  // of Q6_K: the codes' upper bits
  const __half* scales = nullptr;
  uint16_t* out = nullptr;
};

// Values [8 i, 8 i + 8) of the matrix; a block of 32 has its nibbles of 0–15 low, of 16–31 high.
template <core::DType kType>
__device__ void decode_eight(const Matrix& m, int64_t i, float (&values)[kValues]) {
  const int64_t block = i / 4;
  const int part = static_cast<int>(i % 4);
  if constexpr (kType == core::DType::kQ8_0) {
    const float scale = __half2float(m.scales[block]);
    const auto* codes = reinterpret_cast<const int8_t*>(m.codes) + i * kValues;
    for (int v = 0; v < kValues; ++v) values[v] = scale * static_cast<float>(codes[v]);
  } else if constexpr (kType == core::DType::kQ6_K) {
    const float scale = __half2float(m.scales[2 * block + part / 2]);
    const uint8_t* codes = m.codes + block * 16 + part % 2 * kValues;
    const uint8_t* high = m.high + block * 8 + part / 2 * 4;
    for (int v = 0; v < kValues; ++v) {
      const int upper = high[v % 4] >> ((part % 2 * 2 + v / 4) * 2) & 3;
      const int code = (codes[v] >> (part / 2 * 4) & 15) | upper << 4;
      values[v] = scale * static_cast<float>(code - 32);
    }
  } else {
    constexpr bool kHasMinimum = kType == core::DType::kQ4_1;
    const float scale = __half2float(m.scales[kHasMinimum ? 2 * block : block]);
    const float offset = kHasMinimum ? __half2float(m.scales[2 * block + 1]) : -8 * scale;
    const uint8_t* codes = m.codes + block * 16 + part % 2 * kValues;
    for (int v = 0; v < kValues; ++v)
      values[v] = scale * static_cast<float>(codes[v] >> (part / 2 * 4) & 15) + offset;
  }
}

template <core::DType kType>
__global__ void decode_kernel(Matrix matrix, int64_t count) {
  let_next_start();
  wait_for_previous();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  float v[kValues];
  decode_eight<kType>(matrix, i, v);
  reinterpret_cast<uint4*>(matrix.out)[i] = {bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]),
                                             bf16_pair(v[4], v[5]), bf16_pair(v[6], v[7])};
}

}  // namespace

void decode_to_bf16(const PackedWeights& w, uint16_t* out, cudaStream_t stream) {
  const int64_t count = w.outputs * w.inputs / kValues;
  const Matrix matrix{
      reinterpret_cast<const uint8_t*>(w.data),
      reinterpret_cast<const uint8_t*>(w.data) + w.outputs * w.inputs / 2,
      reinterpret_cast<const __half*>(w.data + device_scales_at(w.type, w.outputs, w.inputs)), out};
  const LaunchShape shape{dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads)), kThreads,
                          0, stream};
  switch (w.type) {
    case core::DType::kQ8_0:
      return launch("decode", decode_kernel<core::DType::kQ8_0>, shape, matrix, count);
    case core::DType::kQ6_K:
      return launch("decode", decode_kernel<core::DType::kQ6_K>, shape, matrix, count);
    case core::DType::kQ4_0:
      return launch("decode", decode_kernel<core::DType::kQ4_0>, shape, matrix, count);
    default:
      return launch("decode", decode_kernel<core::DType::kQ4_1>, shape, matrix, count);
  }
}

}  // namespace sluice::kernels::cuda
