// What a card can do, as the code that runs on it knows it, and what follows from that for the
// choice of kernels. Plain data: tests/kernels/cuda_card_test.cpp holds it without a card.
//
// The binary has code for compute capability 9.0 with all it has (sm_90a), or for 8.0, which newer
// cards run too, or both (docs/adr/0009-card-code.md). Device code takes the same numbers when it
// is compiled (launch.cuh, kCard).
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/device_args.h"

namespace sluice::kernels::cuda {

struct Card {
  int code = 0;                  // compute capability that the code was compiled for, times ten
  int64_t shared_bytes_max = 0;  // of a block, less what kernels declare
  // Blocks of the next kernel may start while the one before still runs (launch.cuh).
  bool starts_early = false;
  // Tensor memory accelerator, barriers that count bytes, wgmma (tensor_copy.cuh).
  bool has_tiles = false;
  int sample_blocks = 1;  // of a row of logits: more than one are a cluster
  int latent_tiles = 1;   // in shared memory: with two, one is copied while the other is used
};

inline constexpr int64_t kDeclaredBytesMax = 1024;  // what kernels declare

constexpr Card card_of(int code) {
  if (code == 90)
    return {.code = code,
            .shared_bytes_max = 227 * 1024 - kDeclaredBytesMax,
            .starts_early = true,
            .has_tiles = true,
            .sample_blocks = 8,
            .latent_tiles = 2};
  return {.code = code, .shared_bytes_max = 163 * 1024 - kDeclaredBytesMax};
}

// What the card runs, as card_of() takes it; 0: the binary has no code for it (card.cu).
int code_of_card();
// Of the first card that was asked; open_cuda() refuses cards that run other code.
const Card& card();
int processors_of_card();  // multiprocessors, of the first card too

// Whether matrices lie as rows_by_tiles.cu and rows_by_parts.cu read them: in bf16, outputs even
// and inputs a multiple of 8, and there are kRowsByTilesMax rows at most.
inline constexpr int kRowsByTilesMax = 64;
inline bool lie_for_tiles(const Card& card, const DeviceLinearArgs& args) {
  bool lie = card.has_tiles && args.rows <= kRowsByTilesMax;
  for (int32_t p = 0; p < args.product_count; ++p) {
    const PackedWeights& w = args.products[static_cast<size_t>(p)].weights;
    lie = lie && w.type == core::DType::kBF16 && w.outputs % 2 == 0 && w.inputs % 8 == 0;
  }
  return lie;
}
// Whether rows_by_tiles.cu takes this product: not what is added to y.
inline bool rows_fit_tiles(const Card& card, const DeviceLinearArgs& args) {
  return args.result != DeviceResult::kAdd && lie_for_tiles(card, args);
}

// The parts that rows_by_parts.cu splits a tile of kPartOutputs outputs into, for one matrix whose
// product is added to y; 0: none, where the blocks would leave much of the card without work.
inline constexpr int kPartOutputs = 128;
inline constexpr int kPartsMax = 8;
inline int parts_of_tile(const Card& card, int processors, const DeviceLinearArgs& args) {
  if (args.result != DeviceResult::kAdd || args.product_count != 1 || !lie_for_tiles(card, args))
    return 0;
  const PackedWeights& w = args.products[0].weights;
  const int64_t tiles = (w.outputs + kPartOutputs - 1) / kPartOutputs, steps = w.inputs / 64;
  const int64_t parts = std::min<int64_t>({processors / tiles, steps / 4, kPartsMax});
  return parts > 1 && tiles * parts * 10 >= processors * int64_t{7} ? static_cast<int>(parts) : 0;
}

// Whether rows_by_codes.cu does: up to kRowsByCodesMax rows by matrices of one type in blocks,
// whose inputs are whole groups of scales.
inline constexpr int kRowsByCodesMax = 64;
// Inputs whose scales are copied together: 16 bytes, of Q4_1 32.
constexpr int scale_inputs(core::DType type) {
  return type == core::DType::kF8_B128 ? 512 : 256;
}
inline bool rows_fit_codes(const Card& card, const DeviceLinearArgs& args) {
  const core::DType type = args.products[0].weights.type;
  bool fit = card.has_tiles && args.rows <= kRowsByCodesMax &&
             (type == core::DType::kQ8_0 || type == core::DType::kQ4_0 ||
              type == core::DType::kQ4_1 || type == core::DType::kF8_B128);
  for (int32_t p = 0; p < args.product_count; ++p) {
    const PackedWeights& w = args.products[static_cast<size_t>(p)].weights;
    fit = fit && w.type == type && w.inputs % scale_inputs(type) == 0;
  }
  return fit;
}

}  // namespace sluice::kernels::cuda
