// Blocks of the processor's layouts (kernels/device_bring.h) to the device's, by one thread each.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/device_bring.h"

namespace sluice::kernels::cuda {

inline constexpr int kUnpackLanes = static_cast<int>(PlanesOnHost::kPanel);

// What device code may not call, as numbers.
template <bool kMinima>
inline constexpr int64_t kPairBytesOf = PlanesOnHost{kMinima}.pair_bytes();
template <bool kMinima>
inline constexpr int64_t kDigitBytesOf = PlanesOnHost{kMinima}.digit_bytes();

// Block `half` of a pair, of one of 16 outputs, as block `to` of the matrix.
template <bool kMinima>
__device__ __forceinline__ void unpack_block(const uint8_t* pair, int half, int lane, float unit,
                                             uint8_t* codes, __half* scales, int64_t to) {
  constexpr int kLanes = kUnpackLanes;
  constexpr int64_t kDigitBytes = kDigitBytesOf<kMinima>;
  const auto* words = reinterpret_cast<const uint32_t*>(pair + half * PlanesOnHost::kCodeBytes);
  reinterpret_cast<uint4*>(codes)[to] = {words[lane], words[kLanes + lane],
                                         words[2 * kLanes + lane], words[3 * kLanes + lane]};
  const auto* high =
      reinterpret_cast<const int8_t*>(pair + 2 * PlanesOnHost::kCodeBytes + half * 2 * kDigitBytes);
  const auto* low = high + kDigitBytes;
  const int at = kMinima ? 2 * lane : lane;
  const float scale = unit * static_cast<float>(PlanesOnHost::kBase * high[at] + low[at]);
  if constexpr (kMinima) {
    // Rounded before the subtraction, as on the host.
    const float middle =
        __fmul_rn(unit, static_cast<float>(PlanesOnHost::kBase * high[at + 1] + low[at + 1]));
    scales[2 * to] = __float2half(scale);
    scales[2 * to + 1] = __float2half(middle - 8 * scale);
  } else {
    scales[to] = __float2half(scale);
  }
}

// Tile `tile` of a block of 128 inputs, of one of 16 outputs: 32 codes to `to`.
__device__ __forceinline__ void unpack_e4m3_tile(const uint8_t* block, int tile, int lane,
                                                 uint8_t* to) {
  const auto* pairs = reinterpret_cast<const uint16_t*>(block + tile * E4m3OnHost::kTileBytes +
                                                        lane / 4 * 16 + lane % 4 * 2);
  uint32_t words[8];
#pragma unroll
  for (int v = 0; v < 8; ++v)
    words[v] = pairs[v * 32] | static_cast<uint32_t>(pairs[v * 32 + 4]) << 16;
  auto* codes = reinterpret_cast<uint4*>(to);
  codes[0] = {words[0], words[1], words[2], words[3]};
  codes[1] = {words[4], words[5], words[6], words[7]};
}

}  // namespace sluice::kernels::cuda
