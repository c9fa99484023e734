// Values of a matrix of device_weights.h, eight at a time: of kernels that decode whole matrices
// (blocks.cu, latent_prompt.cu).
#pragma once

#include "core/dtype.h"
#include "kernels/cuda/e4m3.cuh"

namespace sluice::kernels::cuda {

inline constexpr int kBlockValues = 8;  // consecutive inputs of an output

struct BlockMatrix {
  const uint8_t* codes = nullptr;  // or bf16 values
  const uint8_t* high = nullptr;   // of Q6_K: the codes' upper bits
  const __half* scales = nullptr;  // of F8_B128 float
};

// Values [8 i, 8 i + 8) of the matrix; a block of 32 has its nibbles of 0–15 low, of 16–31 high.
template <core::DType kType>
__device__ void decode_eight(const BlockMatrix& m, int64_t i, float (&values)[kBlockValues]) {
  const int64_t block = i / 4;
  const int part = static_cast<int>(i % 4);
  if constexpr (kType == core::DType::kBF16) {
    const uint4 packed = reinterpret_cast<const uint4*>(m.codes)[i];
    const uint32_t words[] = {packed.x, packed.y, packed.z, packed.w};
    for (int v = 0; v < kBlockValues; v += 2) {
      const float2 two = floats_of_bf16(words[v / 2]);
      values[v] = two.x;
      values[v + 1] = two.y;
    }
  } else if constexpr (kType == core::DType::kQ8_0) {
    const float scale = __half2float(m.scales[block]);
    const auto* codes = reinterpret_cast<const int8_t*>(m.codes) + i * kBlockValues;
    for (int v = 0; v < kBlockValues; ++v) values[v] = scale * static_cast<float>(codes[v]);
  } else if constexpr (kType == core::DType::kF8_B128) {
    const float scale =
        reinterpret_cast<const float*>(m.scales)[i / (128 / kBlockValues)] * kE4m3OfF16;
    const uint2 packed = reinterpret_cast<const uint2*>(m.codes)[i];
    const uint32_t words[] = {packed.x, packed.y};
    for (int v = 0; v < kBlockValues; v += 4) {
      const E4m3Pairs pairs = e4m3_as_f16(words[v / 4]);
      const float2 first = __half22float2(*reinterpret_cast<const __half2*>(&pairs.first)),
                   second = __half22float2(*reinterpret_cast<const __half2*>(&pairs.second));
      values[v] = scale * first.x;
      values[v + 1] = scale * first.y;
      values[v + 2] = scale * second.x;
      values[v + 3] = scale * second.y;
    }
  } else if constexpr (kType == core::DType::kQ6_K) {
    const float scale = __half2float(m.scales[2 * block + part / 2]);
    const uint8_t* codes = m.codes + block * 16 + part % 2 * kBlockValues;
    const uint8_t* high = m.high + block * 8 + part / 2 * 4;
    for (int v = 0; v < kBlockValues; ++v) {
      const int upper = high[v % 4] >> ((part % 2 * 2 + v / 4) * 2) & 3;
      const int code = (codes[v] >> (part / 2 * 4) & 15) | upper << 4;
      values[v] = scale * static_cast<float>(code - 32);
    }
  } else {
    constexpr bool kHasMinimum = kType == core::DType::kQ4_1;
    const float scale = __half2float(m.scales[kHasMinimum ? 2 * block : block]);
    const float offset = kHasMinimum ? __half2float(m.scales[2 * block + 1]) : -8 * scale;
    const uint8_t* codes = m.codes + block * 16 + part % 2 * kBlockValues;
    for (int v = 0; v < kBlockValues; ++v)
      values[v] = scale * static_cast<float>(codes[v] >> (part / 2 * 4) & 15) + offset;
  }
}

}  // namespace sluice::kernels::cuda
