// Arguments, tiles and rings of rows_by_codes.cu.
#pragma once

#include <algorithm>

#include "kernels/cuda/code_operands.cuh"
#include "kernels/cuda/rows_by_codes.cuh"
#include "kernels/cuda/tensor_copy.cuh"
#include "kernels/cuda/tile_halves.cuh"

namespace sluice::kernels::cuda::codes {

inline constexpr int kGroups = 4;  // of four warps that multiply
inline constexpr int kGroupThreads = 128;
inline constexpr int kConsumers = kGroups * kGroupThreads;
inline constexpr int kCopiers = 128;  // threads that copy x
inline constexpr int kCodeThreads = kConsumers + kCopiers + 32;

struct CodeProduct {
  const std::byte* scales = nullptr;
  float* y = nullptr;
  int32_t outputs = 0;
  int32_t first_half = 0;  // of all products' halves
};
struct CodeArgs {
  CUtensorMap codes[kDeviceProductsMax];  // boxes (kHalf, kCodeRowBytes)
  CodeProduct products[kDeviceProductsMax];
  int32_t product_count = 0;
  int32_t rows = 0;
  int32_t inputs = 0;
  int32_t steps = 0;  // units of a tile
  int32_t units = 0;  // of all tiles
  int32_t per = 0;    // units of a block
  DeviceResult result = DeviceResult::kStore;
  const uint16_t* x = nullptr;    // bf16 (rows, inputs)
  uint16_t* activated = nullptr;  // bf16
  CodeScratch scratch;
};

template <typename CodesOf, int kColumnsOf, int kTilesOf>
struct CodeShape {
  using Codes = CodesOf;
  static constexpr int kColumns = kColumnsOf;  // rows, padded
  static constexpr int kTiles = kTilesOf;      // of 64 outputs
  static constexpr int kSlices = kGroups / kTiles;
  static constexpr int kHalf = kTiles * 32;
  static constexpr int kSums = kColumns / 2;  // of a thread
  // Of 32 inputs, whose products are waited for together: as many as there are registers for.
  static constexpr int kBatchRuns = kColumns == 64 ? 1 : 2;

  static constexpr int kScaleRowBytes = Codes::kScaleInputs / kXInputs * Codes::kXScaleBytes;
  static constexpr int kHalfBytes = kHalf * kCodeRowBytes;
  static constexpr int kHalfScaleBytes = kHalf * kScaleRowBytes;
  static constexpr int kStageBytes = 2 * (kHalfBytes + kHalfScaleBytes);
  static constexpr int kXOfUnit = Codes::kInputs / kXInputs;    // stages of x
  static constexpr int kXPartBytes = kColumns * kTileRowBytes;  // 64 inputs
  static constexpr int kXStageBytes = kXInputs / kTileColumns * kXPartBytes;
  static constexpr int kJoinBytes =
      (kSlices - 1) * kTiles * kGroupThreads * kSums * int{sizeof(float)};

  // A stage of a ring is always of the same slice: a group that passed over phases of a barrier
  // could not tell them apart.
  static constexpr int kXStages = kColumns == 64 ? 4 : 8;
  static constexpr int kRoom = static_cast<int>(card_of(90).shared_bytes_max) - kTileAlignment -
                               1024 - kXStages * kXStageBytes - kJoinBytes;
  static constexpr int kStages = std::min(kRoom / kStageBytes, 12) / kSlices * kSlices;
  static constexpr int kRingBytes = kStages * kStageBytes;
  static constexpr int kXRingBytes = kXStages * kXStageBytes;
  static constexpr size_t kSharedBytes = kRingBytes + kXRingBytes + kJoinBytes + kTileAlignment;
  static_assert(kStageBytes % kTileAlignment == 0 && kXPartBytes % kTileAlignment == 0);
  static_assert(kXStages % (kXOfUnit * kSlices) == 0 && kStages >= 2 * kSlices);
};

// A place in a ring; it goes on by additions alone.
template <int kStages>
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void advance(int count) {
    stage += count;
    if (stage < kStages) return;
    stage -= kStages;
    parity ^= 1;
  }
};

}  // namespace sluice::kernels::cuda::codes
