#include <algorithm>
#include <cmath>

#include "core/math.h"
#include "core/thread_pool.h"
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/planes_layout.h"
#include "kernels/cpu/generic/pack.h"
#include "kernels/half.h"

namespace sluice::kernels::amx {
namespace {

using core::DType;

// A block of an output: weight = scale · code + middle, code in [-8, 7].
struct Line {
  float scale;
  float middle;
};

Line line_of(DType type, const uint8_t* row, int64_t index, const cpu::LaneBlock& block) {
  if (type == DType::kQ4_0) return {float_of_f16(block.scale), 0};
  if (type == DType::kI4_B32 || type == DType::kI4_Z32) {
    const uint8_t* stored = row + index * core::info(type).block_bytes;
    Line line{0, 0};
    std::memcpy(&line.scale, stored, sizeof line.scale);
    if (type == DType::kI4_Z32) line.middle = static_cast<float>(8 - stored[4]) * line.scale;
    return line;
  }
  Line line{float_of_f16(block.scale), float_of_f16(block.minimum)};
  if (type == DType::kQ4_K) {
    const uint8_t* super_block = row + index / 8 * core::info(type).block_bytes;
    line.scale = load_f16(super_block) * static_cast<float>(block.scale);
    line.middle = -load_f16(super_block + 2) * static_cast<float>(block.minimum);
  }
  line.middle += 8 * line.scale;
  return line;
}

// value / unit in two digits: kBase · high + low.
struct Digits {
  int8_t high, low;
};
Digits digits_of(float value, float inverse_unit) {
  const float whole = std::nearbyint(value * inverse_unit);
  const float high = std::nearbyint(whole / kBase);
  return {static_cast<int8_t>(high), static_cast<int8_t>(whole - high * kBase)};
}

// Lane `lane` of a panel.
void pack_lane(DType type, const uint8_t* row, int64_t blocks, int64_t lane, uint8_t* panel) {
  const PlaneWeights layout{has_minima(type)};
  float largest = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    const cpu::LaneBlock block = cpu::read_block(type, row, b);
    uint8_t* codes = panel + kHeaderBytes + b / 2 * layout.pair_bytes() + b % 2 * 256;
    for (size_t j = 0; j < 4; ++j)
      std::memcpy(codes + j * 64 + static_cast<size_t>(lane) * 4, &block.words[j], 4);
    const Line line = line_of(type, row, b, block);
    largest = std::max(largest, 8 * std::fabs(line.scale) + std::fabs(line.middle));
  }
  const float unit = largest / (kBase * kHighMax);
  const float inverse = unit == 0 ? 0 : 1 / unit;
  std::memcpy(panel + lane * 4, &unit, 4);
  for (int64_t b = 0; b < blocks; ++b) {
    const Line line = line_of(type, row, b, cpu::read_block(type, row, b));
    const Digits scale = digits_of(line.scale, inverse), middle = digits_of(line.middle, inverse);
    uint8_t* high = panel + kHeaderBytes + b / 2 * layout.pair_bytes() + layout.digits_at() +
                    b % 2 * 2 * layout.digit_bytes();
    uint8_t* low = high + layout.digit_bytes();
    const int64_t at = layout.minima ? 2 * lane : lane;
    high[at] = static_cast<uint8_t>(scale.high);
    low[at] = static_cast<uint8_t>(scale.low);
    if (!layout.minima) continue;
    high[at + 1] = static_cast<uint8_t>(middle.high);
    low[at + 1] = static_cast<uint8_t>(middle.low);
  }
}

}  // namespace

void pack_planes(const PackArgs& args, int thread, int threads) {
  const int64_t panel_bytes = PlaneWeights{has_minima(args.type)}.panel_bytes(args.inputs);
  const int64_t row_bytes = core::bytes_of(args.type, args.inputs);
  const int64_t blocks = args.inputs / kBlock;
  const core::Range outputs = core::split(args.outputs, kPanel, thread, threads);
  for (int64_t first = outputs.begin; first < outputs.end; first += kPanel) {
    auto* panel = reinterpret_cast<uint8_t*>(args.packed) + first / kPanel * panel_bytes;
    std::memset(panel, 0, static_cast<size_t>(panel_bytes));
    const int64_t lanes = std::min(kPanel, args.outputs - first);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const auto* row = reinterpret_cast<const uint8_t*>(args.weights) + (first + lane) * row_bytes;
      pack_lane(args.type, row, blocks, lane, panel);
    }
  }
}

}  // namespace sluice::kernels::amx
