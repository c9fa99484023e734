#include "kernels/device_weights.h"

#include <cstring>
#include <vector>

#include "core/math.h"
#include "core/thread_pool.h"
#include "kernels/half.h"
#include "kernels/ops.h"

namespace sluice::kernels {
namespace {

using core::DType;

constexpr int64_t kPartAlignment = 16;

// Of a block on the device; of all but Q6_K in the file too: scales in front, codes behind.
struct BlockParts {
  int64_t scale_bytes = 0;
  int64_t code_bytes = 0;
  int64_t values = 32;
};
BlockParts parts_of(DType type) {
  switch (type) {
    case DType::kQ8_0:
      return {2, 32};
    case DType::kQ4_0:
      return {2, 16};
    case DType::kQ4_1:
      return {4, 16};
    case DType::kQ6_K:
      return {4, 24};
    case DType::kF8_B128:
      return {4, 128, 128};
    default:
      return {};
  }
}

void split_blocks(const DevicePackArgs& args, core::Range rows) {
  const BlockParts parts = parts_of(args.type);
  const int64_t blocks = args.inputs / parts.values;
  std::byte* scales = args.packed + device_scales_at(args.type, args.outputs, args.inputs);
  const std::byte* from = args.weights + rows.begin * core::bytes_of(args.type, args.inputs);
  for (int64_t block = rows.begin * blocks; block < rows.end * blocks; ++block) {
    std::memcpy(scales + block * parts.scale_bytes, from, static_cast<size_t>(parts.scale_bytes));
    std::memcpy(args.packed + block * parts.code_bytes, from + parts.scale_bytes,
                static_cast<size_t>(parts.code_bytes));
    from += parts.scale_bytes + parts.code_bytes;
  }
}

// Blocks behind a scale in f32, with codes as the device has them; I4_Z32 has its zero in between,
// which is exact where the scale's minimum has room.
void round_scales(const DevicePackArgs& args, core::Range rows) {
  const DType kept = device_weight_type(args.type, args.use);
  const BlockParts parts = parts_of(kept);
  const int64_t blocks = args.inputs / parts.values;
  const int64_t block_bytes = core::info(args.type).block_bytes;
  std::byte* scales = args.packed + device_scales_at(kept, args.outputs, args.inputs);
  const std::byte* from = args.weights + rows.begin * core::bytes_of(args.type, args.inputs);
  for (int64_t block = rows.begin * blocks; block < rows.end * blocks; ++block) {
    float scale = 0;
    std::memcpy(&scale, from, sizeof scale);
    const uint16_t rounded = f16_of_float(scale);
    store_u16(scales + block * parts.scale_bytes, rounded);
    if (kept == DType::kQ4_1)
      store_u16(
          scales + block * parts.scale_bytes + 2,
          f16_of_float(-float_of_f16(rounded) * static_cast<float>(std::to_integer<int>(from[4]))));
    std::memcpy(args.packed + block * parts.code_bytes, from + block_bytes - parts.code_bytes,
                static_cast<size_t>(parts.code_bytes));
    from += block_bytes;
  }
}

// A run of 32 of Q4_K as a block of Q4_1: two neighbours share 32 bytes, one in the low nibbles.
void join_runs(const DevicePackArgs& args, core::Range rows) {
  constexpr int64_t kSuperBlock = 256, kSuperBytes = 144;
  std::byte* scales = args.packed + device_scales_at(DType::kQ4_1, args.outputs, args.inputs);
  const int64_t supers = args.inputs / kSuperBlock;
  for (int64_t s = rows.begin * supers; s < rows.end * supers; ++s) {
    const auto* super = reinterpret_cast<const uint8_t*>(args.weights + s * kSuperBytes);
    const uint8_t* packed = super + 4;
    for (int j = 0; j < 8; ++j) {
      const int scale = j < 4 ? packed[j] & 63 : (packed[j + 4] & 15) | packed[j - 4] >> 6 << 4;
      const int minimum = j < 4 ? packed[j + 4] & 63 : packed[j + 4] >> 4 | packed[j] >> 6 << 4;
      const int64_t block = s * 8 + j;
      store_u16(scales + block * 4, f16_of_float(load_f16(super) * static_cast<float>(scale)));
      store_u16(scales + block * 4 + 2,
                f16_of_float(-load_f16(super + 2) * static_cast<float>(minimum)));
      const uint8_t* codes = super + 16 + j / 2 * 32;
      const auto code = [&](int i) { return codes[i] >> (j % 2 * 4) & 15; };
      for (int i = 0; i < 16; ++i)
        args.packed[block * 16 + i] = static_cast<std::byte>(code(i) | code(i + 16) << 4);
    }
  }
}

// A run of 32 of Q6_K: scales of its halves, and codes with their upper bits apart.
void split_codes(const DevicePackArgs& args, core::Range rows) {
  constexpr int64_t kSuperBlock = 256, kSuperBytes = 210;
  std::byte* high = args.packed + args.outputs * args.inputs / 2;
  std::byte* scales = args.packed + device_scales_at(DType::kQ6_K, args.outputs, args.inputs);
  const int64_t supers = args.inputs / kSuperBlock;
  for (int64_t s = rows.begin * supers; s < rows.end * supers; ++s) {
    const auto* super = reinterpret_cast<const uint8_t*>(args.weights + s * kSuperBytes);
    const float factor = load_f16(super + 208);
    for (int run = 0; run < 8; ++run) {
      const uint8_t* low_bits = super + run / 4 * 64 + run % 2 * 32;
      const uint8_t* high_bits = super + 128 + run / 4 * 32;
      const auto code = [&](int i) {
        return (low_bits[i] >> (run % 4 / 2 * 4) & 15) | (high_bits[i] >> (run % 4 * 2) & 3) << 4;
      };
      const int64_t block = s * 8 + run;
      for (int half = 0; half < 2; ++half)
        store_u16(scales + block * 4 + half * 2,
                  f16_of_float(factor * static_cast<float>(
                                            static_cast<int8_t>(super[192 + run * 2 + half]))));
      for (int i = 0; i < 16; ++i)
        args.packed[block * 16 + i] =
            static_cast<std::byte>((code(i) & 15) | (code(i + 16) & 15) << 4);
      for (int j = 0; j < 8; ++j) {
        const int first = j / 4 * 16 + j % 4;
        int bits = 0;
        for (int i = 0; i < 4; ++i) bits |= code(first + i * 4) >> 4 << (2 * i);
        high[block * 8 + j] = static_cast<std::byte>(bits);
      }
    }
  }
}

void round_to_bf16(const DevicePackArgs& args, core::Range rows) {
  std::vector<float> values(static_cast<size_t>(args.inputs));
  const int64_t row_bytes = core::bytes_of(args.type, args.inputs);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    decode(args.type, args.weights + row * row_bytes, args.inputs, values.data());
    for (int64_t i = 0; i < args.inputs; ++i)
      store_u16(args.packed + (row * args.inputs + i) * 2,
                bf16_of_float(values[static_cast<size_t>(i)]));
  }
}

}  // namespace

DType device_weight_type(DType type, DeviceUse use) {
  if (type == DType::kQ4_K || type == DType::kI4_Z32) return DType::kQ4_1;
  if (type == DType::kI4_B32) return DType::kQ4_0;
  if (type == DType::kI8_B32) return DType::kQ8_0;
  if (type == DType::kQ6_K && use == DeviceUse::kStack) return DType::kBF16;
  return parts_of(type).code_bytes > 0 ? type : DType::kBF16;
}

bool device_reads_file_blocks(DType type) {
  return type == DType::kBF16;
}

int64_t device_scales_at(DType device_type, int64_t outputs, int64_t inputs) {
  const BlockParts parts = parts_of(device_type);
  return core::round_up(outputs * inputs / parts.values * parts.code_bytes, kPartAlignment);
}

int64_t device_weight_bytes(DType type, int64_t outputs, int64_t inputs, DeviceUse use) {
  const DType kept = device_weight_type(type, use);
  const BlockParts parts = parts_of(kept);
  if (parts.code_bytes == 0) return outputs * core::bytes_of(kept, inputs);
  return device_scales_at(kept, outputs, inputs) +
         outputs * inputs / parts.values * parts.scale_bytes;
}

void pack_for_device(const DevicePackArgs& args, int thread, int threads) {
  const core::Range rows = core::split(args.outputs, 1, thread, threads);
  const DType kept = device_weight_type(args.type, args.use);
  if (device_reads_file_blocks(args.type)) {
    const int64_t row_bytes = core::bytes_of(args.type, args.inputs);
    std::memcpy(args.packed + rows.begin * row_bytes, args.weights + rows.begin * row_bytes,
                static_cast<size_t>((rows.end - rows.begin) * row_bytes));
  } else if (kept == DType::kBF16) {
    round_to_bf16(args, rows);
  } else if (args.type == DType::kQ4_K) {
    join_runs(args, rows);
  } else if (args.type == DType::kQ6_K) {
    split_codes(args, rows);
  } else if (args.type != kept) {
    round_scales(args, rows);
  } else {
    split_blocks(args, rows);
  }
}

int64_t find_row_out_of_f16(const DevicePackArgs& args, int thread, int threads) {
  const DType kept = device_weight_type(args.type, args.use);
  const BlockParts parts = parts_of(kept);
  if (parts.code_bytes == 0 || kept == DType::kF8_B128) return -1;
  const std::byte* scales = args.packed + device_scales_at(kept, args.outputs, args.inputs);
  const int64_t row_scales = args.inputs / parts.values * parts.scale_bytes / 2;
  const core::Range rows = core::split(args.outputs, 1, thread, threads);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    bool is_special = false;
    for (int64_t i = row * row_scales; i < (row + 1) * row_scales; ++i)
      is_special |= (load_u16(scales + i * 2) & 0x7c00) == 0x7c00;
    if (is_special) return row;
  }
  return -1;
}

DType device_table_type(DType type) {
  const bool read =
      type == DType::kF32 || type == DType::kF16 || type == DType::kBF16 || type == DType::kQ8_0;
  return read ? type : DType::kF32;
}

}  // namespace sluice::kernels
