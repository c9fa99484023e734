#include "kernels/cpu/generic/pack.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "core/math.h"
#include "core/thread_pool.h"
#include "kernels/cpu/generic/packed.h"
#include "kernels/half.h"

namespace sluice::kernels::cpu {
namespace {

using core::DType;

// The int8 format of a type; none for floats.
std::optional<PackedFormat> packed_format(DType type) {
  switch (type) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      return std::nullopt;
    case DType::kQ4_0:
    case DType::kI4_B32:
      return PackedFormat{4, Scales::kSymmetric};
    case DType::kQ4_1:
    case DType::kI4_Z32:
      return PackedFormat{4, Scales::kMinimum};
    case DType::kMXFP4:
      return PackedFormat{4, Scales::kSymmetric, CodeValues::kE2m1};
    case DType::kQ5_0:
      return PackedFormat{5, Scales::kSymmetric};
    case DType::kQ5_1:
      return PackedFormat{5, Scales::kMinimum};
    case DType::kQ4_K:
      return PackedFormat{4, Scales::kSuperBlock};
    case DType::kQ5_K:
      return PackedFormat{5, Scales::kSuperBlock};
    case DType::kQ6_K:
      return PackedFormat{6, Scales::kHalves};
    default:
      return PackedFormat{8, Scales::kSymmetric};
  }
}

constexpr int64_t kQ6KUnitAt = 208;  // d of a Q6_K block: behind codes and scales

void copy_words(const void* from, int count, LaneBlock& lane) {
  std::memcpy(lane.words.data(), from, static_cast<size_t>(count) * sizeof(uint32_t));
}

// Fifth bits of a block, value i at bit i, to bit g of byte b for value 4g + b.
uint32_t spread_high_bits(uint32_t bits) {
  uint32_t word = 0;
  for (uint32_t i = 0; i < kBlock; ++i) word |= (bits >> i & 1u) << (i % 4 * 8 + i / 4);
  return word;
}

float load_f32(const uint8_t* from) {
  float value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
uint32_t load_u32(const uint8_t* from) {
  uint32_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Sub-block j of Q4_K: nibbles of 32 bytes, low ones for even j, to the order of Q4_0.
void join_nibbles(const uint8_t* nibbles, int j, LaneBlock& lane) {
  const uint8_t* from = nibbles + j / 2 * 32;
  const int shift = j % 2 * 4;
  std::array<uint8_t, 16> joined;
  for (size_t i = 0; i < 16; ++i)
    joined[i] = static_cast<uint8_t>((from[i] >> shift & 15) | (from[i + 16] >> shift & 15) << 4);
  copy_words(joined.data(), 4, lane);
}

// Sub-block j of Q6_K, whose low nibbles and then pairs of bits lie in 64 + 64 and 32 + 32 bytes.
void join_6bit(const uint8_t* row, int j, LaneBlock& lane) {
  const uint8_t* nibbles = row + j / 4 * 64 + j % 2 * 32;
  const uint8_t* pairs = row + 128 + j / 4 * 32;
  std::array<uint8_t, 24> joined{};
  for (size_t i = 0; i < kBlock; ++i) {
    const int nibble = nibbles[i] >> (j % 4 / 2 * 4) & 15, pair = pairs[i] >> (j % 4 * 2) & 3;
    joined[i % 16] = static_cast<uint8_t>(joined[i % 16] | nibble << (i / 16 * 4));
    uint8_t& bits = joined[16 + i / 16 * 4 + i % 4];
    bits = static_cast<uint8_t>(bits | pair << (i % 16 / 4 * 2));
  }
  copy_words(joined.data(), 6, lane);
}

void read_scales_6bit(const uint8_t* packed, int j, LaneBlock& lane) {
  const auto at = [&](int i) { return static_cast<int>(packed[i]); };
  lane.scale = static_cast<uint16_t>(j < 4 ? at(j) & 63 : (at(j + 4) & 15) | at(j - 4) >> 6 << 4);
  lane.minimum = static_cast<uint16_t>(j < 4 ? at(j + 4) & 63 : at(j + 4) >> 4 | at(j) >> 6 << 4);
}

}  // namespace

LaneBlock read_block(DType type, const uint8_t* row, int64_t index) {
  LaneBlock lane;
  const auto sub = static_cast<int>(index % 8);
  switch (type) {
    case DType::kQ4_0:
      row += index * 18;
      lane.scale = load_u16(row);
      copy_words(row + 2, 4, lane);
      break;
    case DType::kQ4_1:
      row += index * 20;
      lane.scale = load_u16(row);
      lane.minimum = load_u16(row + 2);
      copy_words(row + 4, 4, lane);
      break;
    case DType::kQ5_0:
      row += index * 22;
      lane.scale = load_u16(row);
      copy_words(row + 6, 4, lane);
      lane.words[4] = spread_high_bits(load_u32(row + 2));
      break;
    case DType::kQ5_1:
      row += index * 24;
      lane.scale = load_u16(row);
      lane.minimum = load_u16(row + 2);
      copy_words(row + 8, 4, lane);
      lane.words[4] = spread_high_bits(load_u32(row + 4));
      break;
    case DType::kQ8_0:
      row += index * 34;
      lane.scale = load_u16(row);
      copy_words(row + 2, 8, lane);
      for (uint32_t& word : lane.words) word ^= 0x80808080u;
      break;
    case DType::kI4_B32:
      row += index * 20;
      lane.scale = f16_of_float(load_f32(row));
      copy_words(row + 4, 4, lane);
      break;
    case DType::kI4_Z32: {
      row += index * 21;
      const float scale = load_f32(row);
      lane.scale = f16_of_float(scale);
      lane.minimum = f16_of_float(-scale * static_cast<float>(row[4]));
      copy_words(row + 5, 4, lane);
      break;
    }
    case DType::kI8_B32:
      row += index * 36;
      lane.scale = f16_of_float(load_f32(row));
      copy_words(row + 4, 8, lane);
      for (uint32_t& word : lane.words) word ^= 0x80808080u;
      break;
    case DType::kMXFP4:
      row += index * 17;
      lane.scale = f16_of_float(std::ldexp(0.5f, row[0] - 127));  // of twice the values
      copy_words(row + 1, 4, lane);
      break;
    case DType::kQ4_K:
      row += index / 8 * 144;
      read_scales_6bit(row + 4, sub, lane);
      join_nibbles(row + 16, sub, lane);
      break;
    case DType::kQ5_K: {
      row += index / 8 * 176;
      read_scales_6bit(row + 4, sub, lane);
      join_nibbles(row + 48, sub, lane);
      uint32_t bits = 0;
      for (int i = 0; i < kBlock; ++i) bits |= (row[16 + i] >> sub & 1u) << i;
      lane.words[4] = spread_high_bits(bits);
      break;
    }
    case DType::kQ6_K:
      row += index / 8 * 210;
      lane.scale = load_u16(row + 192 + 2 * sub);
      join_6bit(row, sub, lane);
      break;
    default:
      ASSERT(false, "{} has no packed layout of its own", core::info(type).name);
  }
  return lane;
}

namespace {

// 32 floats to a Q8_0 block.
LaneBlock quantize_block(const float* values) {
  LaneBlock lane;
  float largest = 0;
  for (int i = 0; i < kBlock; ++i) largest = std::max(largest, std::fabs(values[i]));
  lane.scale = f16_of_float(largest / 127.0f);
  const float scale = float_of_f16(lane.scale);
  std::array<uint8_t, kBlock> codes;
  for (size_t i = 0; i < kBlock; ++i) {
    const float code = scale == 0 ? 0.0f : std::nearbyint(values[i] / scale);
    codes[i] = static_cast<uint8_t>(static_cast<int>(std::clamp(code, -127.0f, 127.0f)) + 128);
  }
  copy_words(codes.data(), 8, lane);
  return lane;
}

bool keeps_bits(DType type) {
  return packed_format(type)->bits != 8 || type == DType::kQ8_0 || type == DType::kI8_B32;
}

// The panel of outputs [first, first + 16) of an int8 format.
void pack_panel(const PackArgs& args, const PackedFormat& format, int64_t first, uint8_t* panel) {
  std::memset(panel, 0, static_cast<size_t>(format.panel_bytes(args.inputs)));
  const core::DTypeInfo& type = core::info(args.type);
  const int64_t row_bytes = core::bytes_of(args.type, args.inputs);
  const int64_t lanes = std::min(kPanel, args.outputs - first);
  const bool keeps = keeps_bits(args.type);
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const auto* row = reinterpret_cast<const uint8_t*>(args.weights) + (first + lane) * row_bytes;
    std::array<float, 256> decoded;
    for (int64_t b = 0; b < args.inputs / kBlock; ++b) {
      const int64_t in_unit = b * kBlock % type.block_values;
      if (!keeps && in_unit == 0)
        decode(args.type,
               reinterpret_cast<const std::byte*>(row) +
                   b * kBlock / type.block_values * type.block_bytes,
               type.block_values, decoded.data());
      const LaneBlock block =
          keeps ? read_block(args.type, row, b) : quantize_block(decoded.data() + in_unit);
      uint8_t* group = panel + b / format.group() * format.group_bytes();
      const int64_t i = b % format.group();
      for (int64_t j = 0; j < format.bits; ++j)
        std::memcpy(group + i * format.block_code_bytes() + j * 64 + lane * 4,
                    &block.words[static_cast<size_t>(j)], 4);
      if (format.has_super()) {
        const bool halves = format.scales == Scales::kHalves;
        group[format.scales_at() + i * 16 + lane] = static_cast<uint8_t>(block.scale);
        group[format.minima_at() + i * 16 + lane] =
            static_cast<uint8_t>(halves ? block.scale >> 8 : block.minimum);
        if (i > 0) continue;
        const uint8_t* unit = row + b / 8 * type.block_bytes;
        store_u16(group + format.super_at() + lane * 2, load_u16(unit + (halves ? kQ6KUnitAt : 0)));
        if (halves) continue;
        store_u16(group + format.super_at() + 32 + lane * 2,
                  static_cast<uint16_t>(load_u16(unit + 2) ^ 0x8000u));
        continue;
      }
      store_u16(group + format.scales_at() + i * 32 + lane * 2, block.scale);
      if (format.scales == Scales::kMinimum)
        store_u16(group + format.minima_at() + i * 32 + lane * 2, block.minimum);
    }
  }
}

// The panel of outputs [first, first + 16) of a float type: (inputs, 16).
template <typename Element>
void pack_float_panel(const PackArgs& args, int64_t first, std::byte* panel) {
  const auto* weights = reinterpret_cast<const Element*>(args.weights) + first * args.inputs;
  auto* out = reinterpret_cast<Element*>(panel);
  const int64_t lanes = std::min(kPanel, args.outputs - first);
  for (int64_t k = 0; k < args.inputs; ++k)
    for (int64_t lane = 0; lane < kPanel; ++lane)
      out[k * kPanel + lane] = lane < lanes ? weights[lane * args.inputs + k] : Element{0};
}

int64_t panel_bytes(DType type, int64_t inputs) {
  const std::optional<PackedFormat> format = packed_format(type);
  return format ? format->panel_bytes(inputs) : kPanel * core::bytes_of(type, inputs);
}

}  // namespace

bool reads_kv(KvFormat format, int32_t) {
  return format != KvFormat::kBf16;
}

int64_t packed_bytes(DType type, int64_t outputs, int64_t inputs) {
  return core::div_ceil(outputs, kPanel) * panel_bytes(type, inputs);
}

void pack(const PackArgs& args, int thread, int threads) {
  const std::optional<PackedFormat> format = packed_format(args.type);
  const core::Range outputs = core::split(args.outputs, kPanel, thread, threads);
  for (int64_t first = outputs.begin; first < outputs.end; first += kPanel) {
    std::byte* panel = args.packed + first / kPanel * panel_bytes(args.type, args.inputs);
    if (format) {
      pack_panel(args, *format, first, reinterpret_cast<uint8_t*>(panel));
    } else if (args.type == DType::kF32) {
      pack_float_panel<uint32_t>(args, first, panel);
    } else {
      pack_float_panel<uint16_t>(args, first, panel);
    }
  }
}

ActivationForm activation_form(DType weights) {
  return packed_format(weights) ? ActivationForm::kInt8 : ActivationForm::kF32;
}

int64_t activation_bytes(ActivationForm, int64_t rows, int64_t inputs) {
  return ActivationLayout{inputs, rows}.bytes();
}

}  // namespace sluice::kernels::cpu
