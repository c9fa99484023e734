#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/math.h"
#include "core/thread_pool.h"
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/wide_layout.h"
#include "kernels/half.h"

namespace sluice::kernels::amx {
namespace {

using core::DType;

// A block of an output: weight = scale of its part · code + middle, codes with zero in the middle
// of their range.
struct Line {
  std::array<float, 2> scales{};
  float middle = 0;
};

// Of `type`, whose bits read_block() keeps.
Line line_of(DType type, int bits, const uint8_t* row, int64_t index, const cpu::LaneBlock& block) {
  const uint8_t* super_block = row + index / 8 * core::info(type).block_bytes;
  if (type == DType::kQ6_K) {
    const float d = load_f16(super_block + 208);
    return {{d * static_cast<float>(static_cast<int8_t>(block.scale & 0xff)),
             d * static_cast<float>(static_cast<int8_t>(block.scale >> 8))},
            0};
  }
  Line line;
  if (type == DType::kQ5_K) {
    line.scales[0] = load_f16(super_block) * static_cast<float>(block.scale);
    line.middle = -load_f16(super_block + 2) * static_cast<float>(block.minimum);
  } else {
    line.scales[0] = float_of_f16(block.scale);
    line.middle = float_of_f16(block.minimum);
  }
  if (type == DType::kQ5_K || type == DType::kQ5_1)
    line.middle += line.scales[0] * static_cast<float>(1 << (bits - 1));
  return line;
}

bool keeps_bits(DType type) {
  return type == DType::kQ5_0 || type == DType::kQ5_1 || type == DType::kQ5_K ||
         type == DType::kQ6_K || type == DType::kQ8_0 || type == DType::kMXFP4;
}

// Code words of a block, and its line.
struct Block {
  std::array<uint32_t, 8> words{};
  Line line;
};

// 32 floats in 8 bits.
Block quantize_block(const float* values) {
  Block block;
  float largest = 0;
  for (int i = 0; i < kBlock; ++i) largest = std::max(largest, std::fabs(values[i]));
  const float scale = largest / 127;
  block.line.scales[0] = scale;
  std::array<int8_t, kBlock> codes{};
  for (size_t i = 0; i < kBlock && scale > 0; ++i)
    codes[i] = static_cast<int8_t>(std::nearbyint(values[i] / scale));
  std::memcpy(block.words.data(), codes.data(), sizeof codes);
  return block;
}

// The blocks of one output.
std::vector<Block> read_row(DType type, int bits, const uint8_t* row, int64_t inputs) {
  std::vector<Block> blocks(static_cast<size_t>(inputs / kBlock));
  if (!keeps_bits(type)) {
    std::vector<float> values(static_cast<size_t>(inputs));
    decode(type, reinterpret_cast<const std::byte*>(row), inputs, values.data());
    for (size_t b = 0; b < blocks.size(); ++b) blocks[b] = quantize_block(&values[b * kBlock]);
    return blocks;
  }
  for (size_t b = 0; b < blocks.size(); ++b) {
    const auto index = static_cast<int64_t>(b);
    const cpu::LaneBlock lane = cpu::read_block(type, row, index);
    blocks[b].words = lane.words;
    blocks[b].line = line_of(type, bits, row, index, lane);
    // The highest bit of every code.
    if (bits == 8)
      for (uint32_t& word : blocks[b].words) word ^= 0x80808080u;
    else if (bits == 6)
      for (size_t i = 4; i < 6; ++i) blocks[b].words[i] ^= 0xaaaaaaaau;
    else if (bits == 5)
      blocks[b].words[4] ^= 0xffffffffu;
  }
  return blocks;
}

// Lane `lane` of a panel.
template <WideFormat kFormat>
void pack_lane(const std::vector<Block>& blocks, int64_t lane, uint8_t* panel) {
  using Weights = WideWeights<kFormat>;
  constexpr float kHalfRange = 1 << (kFormat.packed().value_bits() - 1);
  float largest = 0;
  for (const Block& block : blocks)
    for (float scale : block.line.scales)
      largest = std::max(largest, kHalfRange * std::fabs(scale) + std::fabs(block.line.middle));
  const float unit = largest / (kWideMax - 2);  // both numbers are rounded
  const float inverse = unit == 0 ? 0 : 1 / unit;
  const auto whole = [&](float value) {
    return static_cast<uint16_t>(static_cast<int16_t>(std::nearbyint(value * inverse)));
  };
  std::memcpy(panel + lane * 4, &unit, 4);
  for (size_t b = 0; b < blocks.size(); ++b) {
    const auto half = static_cast<int64_t>(b % 2);
    uint8_t* pair = panel + kHeaderBytes + static_cast<int64_t>(b / 2) * Weights::kPairBytes;
    for (size_t j = 0; j < kFormat.bits; ++j)
      std::memcpy(pair + half * kFormat.bits * 64 + static_cast<int64_t>(j) * 64 + lane * 4,
                  &blocks[b].words[j], 4);
    for (int64_t i = 0; i < kFormat.scales; ++i)
      store_u16(
          pair + Weights::kScalesAt + (half * kFormat.scales + i) * Weights::kWordsBytes + lane * 2,
          whole(kHalfRange * blocks[b].line.scales[static_cast<size_t>(i)]));
    if constexpr (kFormat.minima)
      store_u16(pair + Weights::kMiddlesAt + half * Weights::kWordsBytes + lane * 2,
                whole(blocks[b].line.middle));
  }
}

}  // namespace

void pack_wide(const PackArgs& args, int thread, int threads) {
  const int64_t row_bytes = core::bytes_of(args.type, args.inputs);
  const core::Range outputs = core::split(args.outputs, kPanel, thread, threads);
  visit_wide(args.type, [&]<WideFormat kFormat>() {
    const int64_t panel_bytes = WideWeights<kFormat>::panel_bytes(args.inputs);
    for (int64_t first = outputs.begin; first < outputs.end; first += kPanel) {
      auto* panel = reinterpret_cast<uint8_t*>(args.packed) + first / kPanel * panel_bytes;
      std::memset(panel, 0, static_cast<size_t>(panel_bytes));
      const int64_t lanes = std::min(kPanel, args.outputs - first);
      for (int64_t lane = 0; lane < lanes; ++lane) {
        const auto* row =
            reinterpret_cast<const uint8_t*>(args.weights) + (first + lane) * row_bytes;
        pack_lane<kFormat>(read_row(args.type, kFormat.bits, row, args.inputs), lane, panel);
      }
    }
  });
}

}  // namespace sluice::kernels::amx
