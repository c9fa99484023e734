// Linear layers over `Vector` (avx2/vector.h or avx512/vector.h, included before): int8 blocks.
//
// Of every (row, output) the sum over blocks b, in their order, in f32:
//   dot = Σ code · x code                                         exact, int32
//   sum = fma(float(dot), weight scale · x scale, sum)
//   sum = fma(minimum, x scale · Σ x codes, sum)                  where the format has minima
// then + bias, + residual. Every path below keeps this order, so a row's bits do not depend on
// which path, tile or thread made it.
//
// Few rows (kRowsDirect): codes are unpacked in registers, each panel is read once.
// More: a strip of two vectors of outputs × kChunkBlocks blocks is unpacked to the stack (L1), and
// tiles of Vector::kTileRows rows run over it; sums of a chunk wait on the stack (L2).
#pragma once

#include "kernels/cpu/generic/packed.h"
#include "kernels/ops.h"

namespace sluice::kernels {
namespace {

constexpr int kRowsDirect = 4;
constexpr int64_t kChunkBlocks = 24;
constexpr int64_t kRowBlock = 240;                     // rows whose sums wait, at most
constexpr int64_t kActivationCacheBytes = 1200 << 10;  // of the rows of a row block
constexpr int kVectorsOfPanel = static_cast<int>(kPanel) / Vector::kLanes;
constexpr int kStripVectors = 2;
constexpr int64_t kStripOutputs = kStripVectors * Vector::kLanes;

// Codes of one block, 4 values of each output to a vector.
struct BlockCodes {
  Vector::Ints words[8];
};
struct BlockScales {
  Vector::Floats scale, minimum;
};

// How a format's codes meet dot(): as unsigned with zero 128 where dot() takes all unsigned bytes
// (codes shifted up, scales down); else as they are, 8-bit ones signed.
template <PackedFormat kFormat, typename V = Vector>
struct Codes {
  using Ints = typename V::Ints;
  static constexpr bool kSymmetric = kFormat.scales == Scales::kSymmetric;
  static constexpr int kUp = kSymmetric && V::kWideDot ? 8 - kFormat.bits : 0;
  static constexpr bool kSigned = kFormat.bits == 8 && !V::kWideDot;

  // Where the accumulator of a block starts. zero_sum = -128 · Σ x codes.
  static Ints start([[maybe_unused]] const std::byte* zero_sum) {
    if constexpr (!kSymmetric || kSigned) {
      return V::zero_ints();
    } else if constexpr (V::kWideDot) {
      return V::load_four_bytes(zero_sum);
    } else {
      return V::template shift_right_signed<8 - kFormat.bits>(V::load_four_bytes(zero_sum));
    }
  }
  static Ints dot(Ints sum, Ints weights, Ints x) {
    if constexpr (kSigned) {
      return V::signed_dot(sum, weights, x);
    } else {
      return V::dot(sum, weights, x);
    }
  }

  // The 4-bit codes of vector j: low nibbles for j < 4.
  template <int kHigh>
  static Ints nibbles(Ints bytes) {
    if constexpr (kUp == 4) {
      if constexpr (kHigh == 0) bytes = V::template shift_left_16<4>(bytes);
      return V::bit_and(bytes, V::set_bytes(0xf0));
    } else {
      if constexpr (kHigh == 1) bytes = V::template shift_right_16<4>(bytes);
      bytes = V::bit_and(bytes, V::set_bytes(0x0f));
      if constexpr (kUp != 0) bytes = V::template shift_left_16<kUp>(bytes);
      return bytes;
    }
  }
  // Fifth bits of vector kIndex, in place.
  template <int kIndex>
  static Ints add_fifth_bits(Ints codes, Ints bits) {
    constexpr int kAt = 4 + kUp;
    Ints moved = bits;
    if constexpr (kIndex < kAt) moved = V::template shift_left_16<kAt - kIndex>(bits);
    if constexpr (kIndex > kAt) moved = V::template shift_right_16<kIndex - kAt>(bits);
    return V::and_or(moved, V::set_bytes(1 << kAt), codes);
  }

  // Block i of a group, the lanes of vector `part` of the panel.
  static BlockCodes unpack(const uint8_t* group, int64_t i, int part) {
    constexpr int64_t kVectorBytes = sizeof(Ints);
    const uint8_t* at = group + i * kFormat.block_code_bytes() + part * kVectorBytes;
    BlockCodes codes;
    if constexpr (kFormat.bits == 8) {
      for (int j = 0; j < 8; ++j) {
        codes.words[j] = V::load_ints(at + j * 64);
        if constexpr (kSigned) codes.words[j] = V::flip_sign_bits(codes.words[j]);
      }
      return codes;
    }
    for (int j = 0; j < 4; ++j) {
      const Ints bytes = V::load_ints(at + j * 64);
      codes.words[j] = nibbles<0>(bytes);
      codes.words[j + 4] = nibbles<1>(bytes);
    }
    if constexpr (kFormat.bits == 5) {
      const Ints bits = V::load_ints(at + 4 * 64);
      codes.words[0] = add_fifth_bits<0>(codes.words[0], bits);
      codes.words[1] = add_fifth_bits<1>(codes.words[1], bits);
      codes.words[2] = add_fifth_bits<2>(codes.words[2], bits);
      codes.words[3] = add_fifth_bits<3>(codes.words[3], bits);
      codes.words[4] = add_fifth_bits<4>(codes.words[4], bits);
      codes.words[5] = add_fifth_bits<5>(codes.words[5], bits);
      codes.words[6] = add_fifth_bits<6>(codes.words[6], bits);
      codes.words[7] = add_fifth_bits<7>(codes.words[7], bits);
    }
    return codes;
  }

  static BlockScales scales(const uint8_t* group, int64_t i, int part) {
    const int64_t lane = part * V::kLanes;
    BlockScales result{V::zero(), V::zero()};
    if constexpr (kFormat.scales == Scales::kSuperBlock) {
      const uint8_t* super = group + kFormat.super_at() + lane * 2;
      result.scale =
          V::mul(V::load_f16(super), V::load_u8(group + kFormat.scales_at() + i * kPanel + lane));
      result.minimum = V::mul(V::load_f16(super + kPanel * 2),
                              V::load_u8(group + kFormat.minima_at() + i * kPanel + lane));
      return result;
    }
    result.scale = V::load_f16(group + kFormat.scales_at() + (i * kPanel + lane) * 2);
    if constexpr (kUp != 0) result.scale = V::mul(result.scale, V::set(1.0f / (1 << kUp)));
    if constexpr (kFormat.scales == Scales::kMinimum)
      result.minimum = V::load_f16(group + kFormat.minima_at() + (i * kPanel + lane) * 2);
    return result;
  }
};

inline Vector::Floats broadcast(const std::byte* at) {
  float value;
  __builtin_memcpy(&value, at, sizeof value);
  return Vector::set(value);
}

// The end of a sum: + bias, + residual, to y. outputs [first, first + kLanes) of row m.
inline void finish(const LinearArgs& args, int64_t m, int64_t first, Vector::Floats sum) {
  using V = Vector;
  const int64_t n = args.weights.outputs;
  const int64_t at = m * n + first;
  if (first + V::kLanes <= n) {
    if (args.bias != nullptr) sum = V::add(sum, V::load(args.bias + first));
    if (args.residual != nullptr) sum = V::add(sum, V::load(args.residual + at));
    V::store(args.y + at, sum);
  } else if (first < n) {
    const int64_t left = n - first;
    if (args.bias != nullptr) sum = V::add(sum, V::load_first(args.bias + first, left));
    if (args.residual != nullptr) sum = V::add(sum, V::load_first(args.residual + at, left));
    V::store_first(args.y + at, sum, left);
  }
}

// ---- Few rows
// ------------------------------------------------------------------------------------

// kRows rows, all of the activations, × the outputs of one vector of a panel.
template <PackedFormat kFormat, int kRows>
inline void direct_panel(const LinearArgs& args, int64_t panel, int part) {
  using V = Vector;
  using C = Codes<kFormat>;
  const ActivationLayout layout{args.weights.inputs, kRows};
  const std::byte* x = args.x_packed;
  const auto* group = reinterpret_cast<const uint8_t*>(args.weights.data) +
                      panel * kFormat.panel_bytes(args.weights.inputs);
  V::Floats sums[kRows];
  for (int r = 0; r < kRows; ++r) sums[r] = V::zero();
  int64_t in_group = 0;
  for (int64_t b = 0; b < layout.blocks(); ++b, x += layout.block_bytes()) {
    const std::byte* scales_of_x = x + layout.scales_at(0);
    const BlockCodes codes = C::unpack(group, in_group, part);
    const BlockScales scales = C::scales(group, in_group, part);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      V::Ints dot = C::start(scales_of_x + 2 * layout.array_bytes() + r * 4);
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j)
        dot = C::dot(dot, codes.words[j], V::load_four_bytes(x + r * kBlock + j * 4));
      const V::Floats scale = V::mul(scales.scale, broadcast(scales_of_x + r * 4));
      sums[r] = V::fma(V::floats(dot), scale, sums[r]);
      if constexpr (!C::kSymmetric)
        sums[r] =
            V::fma(scales.minimum, broadcast(scales_of_x + layout.array_bytes() + r * 4), sums[r]);
    }
    if (++in_group == kFormat.group()) {
      in_group = 0;
      group += kFormat.group_bytes();
    }
  }
  for (int r = 0; r < kRows; ++r) finish(args, r, panel * kPanel + part * V::kLanes, sums[r]);
}

template <PackedFormat kFormat, int kRows>
inline void direct(const LinearArgs& args, Share outputs) {
  for (int64_t panel = outputs.begin / kPanel; panel * kPanel < outputs.end; ++panel)
    for (int part = 0; part < kVectorsOfPanel; ++part)
      direct_panel<kFormat, kRows>(args, panel, part);
}

// ---- Many rows
// -----------------------------------------------------------------------------------

// kStripVectors vectors of outputs, a chunk of blocks, codes and scales ready for use.
struct Strip {
  alignas(64) Vector::Ints codes[kChunkBlocks][8][kStripVectors];
  Vector::Floats scales[kChunkBlocks][kStripVectors];
  Vector::Floats minima[kChunkBlocks][kStripVectors];
};

// Blocks [begin, begin + count) of the outputs from `first_output` on. Vectors beyond the last
// panel repeat it; finish() drops their sums.
template <PackedFormat kFormat>
inline void unpack_strip(const PackedWeights& weights, int64_t first_output, int64_t begin,
                         int64_t count, Strip& strip) {
  using C = Codes<kFormat>;
  const int64_t last_panel = (weights.outputs - 1) / kPanel;
  const auto* data = reinterpret_cast<const uint8_t*>(weights.data);
  for (int v = 0; v < kStripVectors; ++v) {
    const int64_t output = first_output + v * Vector::kLanes;
    const int64_t panel = output / kPanel < last_panel ? output / kPanel : last_panel;
    const int part = static_cast<int>(output % kPanel) / Vector::kLanes;
    const uint8_t* groups = data + panel * kFormat.panel_bytes(weights.inputs);
    for (int64_t b = 0; b < count; ++b) {
      const uint8_t* group = groups + (begin + b) / kFormat.group() * kFormat.group_bytes();
      const int64_t i = (begin + b) % kFormat.group();
      const BlockCodes codes = C::unpack(group, i, part);
      const BlockScales scales = C::scales(group, i, part);
      for (int j = 0; j < 8; ++j) strip.codes[b][j][v] = codes.words[j];
      strip.scales[b][v] = scales.scale;
      strip.minima[b][v] = scales.minimum;
    }
  }
}

// A chunk of blocks of a tile's rows: where the first row's codes and scales of the first block
// lie. Sums of the first chunk start at zero.
struct TileRows {
  const std::byte* codes;
  const std::byte* scales;
  int64_t block_bytes;
  int64_t array_bytes;
  int64_t blocks;
  bool is_first_chunk;
};

// kRows rows × a strip; sums (kRows, kStripVectors) go on.
template <typename C, int kRows>
inline void strip_tile(const Strip& strip, const TileRows& x,
                       Vector::Floats (*sums_at)[kStripVectors]) {
  using V = Vector;
  V::Floats sums[kRows][kStripVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kStripVectors; ++v)
      sums[r][v] = x.is_first_chunk ? V::zero() : sums_at[r][v];
  const std::byte* codes = x.codes;
  const std::byte* scales = x.scales;
  for (int64_t b = 0; b < x.blocks; ++b, codes += x.block_bytes, scales += x.block_bytes) {
    V::Ints dots[kRows][kStripVectors];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      dots[r][0] = C::start(scales + 2 * x.array_bytes + r * 4);
      dots[r][1] = dots[r][0];
    }
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const V::Ints four = V::load_four_bytes(codes + r * kBlock + j * 4);
        dots[r][0] = C::dot(dots[r][0], strip.codes[b][j][0], four);
        dots[r][1] = C::dot(dots[r][1], strip.codes[b][j][1], four);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const V::Floats x_scale = broadcast(scales + r * 4);
#pragma GCC unroll 2
      for (int v = 0; v < kStripVectors; ++v) {
        sums[r][v] = V::fma(V::floats(dots[r][v]), V::mul(strip.scales[b][v], x_scale), sums[r][v]);
        if constexpr (!C::kSymmetric)
          sums[r][v] =
              V::fma(strip.minima[b][v], broadcast(scales + x.array_bytes + r * 4), sums[r][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kStripVectors; ++v) sums_at[r][v] = sums[r][v];
}

// `rows` rows from the first of `x` on, all of one group, in tiles, the last one smaller.
template <typename C>
inline void strip_rows(const Strip& strip, TileRows x, int64_t rows,
                       Vector::Floats (*sums)[kStripVectors]) {
  constexpr int kTile = Vector::kTileRows;
  for (; rows > 0; rows -= kTile, sums += kTile) {
    switch (rows) {
      case 1:
        strip_tile<C, 1>(strip, x, sums);
        break;
      case 2:
        strip_tile<C, 2>(strip, x, sums);
        break;
      case 3:
        strip_tile<C, 3>(strip, x, sums);
        break;
      case 4:
        strip_tile < C, kTile<4 ? kTile : 4>(strip, x, sums);
        break;
      case 5:
        strip_tile < C, kTile<5 ? kTile : 5>(strip, x, sums);
        break;
      default:
        strip_tile<C, kTile>(strip, x, sums);
    }
    x.codes += kTile * kBlock;
    x.scales += kTile * 4;
  }
}

// How the rows of a strip are computed; the amx table has another.
struct VectorTiles {
  template <typename C>
  static void rows(const Strip& strip, const TileRows& x, int64_t rows,
                   Vector::Floats (*sums)[kStripVectors]) {
    strip_rows<C>(strip, x, rows, sums);
  }
};

// Rows whose sums wait together: whole groups, as many as stay in the cache.
inline int64_t rows_at_once(const ActivationLayout& layout) {
  const int64_t groups = kActivationCacheBytes / layout.group_bytes();
  const int64_t most = kRowBlock / kRowGroup;
  return (groups < 1 ? 1 : groups < most ? groups : most) * kRowGroup;
}

template <PackedFormat kFormat, typename Tiles>
inline void strips(const LinearArgs& args, Share outputs) {
  using C = Codes<kFormat>;
  const ActivationLayout layout{args.weights.inputs, args.rows};
  const int64_t blocks = layout.blocks();
  const int64_t chunks = (blocks + kChunkBlocks - 1) / kChunkBlocks;
  const int64_t step = rows_at_once(layout);
  Strip strip;
  Vector::Floats sums[kRowBlock][kStripVectors];
  for (int64_t first_row = 0; first_row < args.rows; first_row += step) {
    const int64_t rows = args.rows - first_row < step ? args.rows - first_row : step;
    for (int64_t output = outputs.begin; output < outputs.end; output += kStripOutputs) {
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        const int64_t begin = blocks * chunk / chunks, end = blocks * (chunk + 1) / chunks;
        unpack_strip<kFormat>(args.weights, output, begin, end - begin, strip);
        for (int64_t r = 0; r < rows; r += kRowGroup) {
          const std::byte* x = args.x_packed + begin * layout.block_bytes();
          const TileRows tile{.codes = x + layout.codes_at(first_row + r),
                              .scales = x + layout.scales_at(first_row + r),
                              .block_bytes = layout.block_bytes(),
                              .array_bytes = layout.array_bytes(),
                              .blocks = end - begin,
                              .is_first_chunk = chunk == 0};
          const int64_t in_group = rows - r < kRowGroup ? rows - r : kRowGroup;
          Tiles::template rows<C>(strip, tile, in_group, sums + r);
        }
      }
      for (int64_t r = 0; r < rows; ++r)
        for (int v = 0; v < kStripVectors; ++v)
          finish(args, first_row + r, output + v * Vector::kLanes, sums[r][v]);
    }
  }
}

template <PackedFormat kFormat>
inline void linear_int8(const LinearArgs& args, int thread, int threads) {
  if (args.rows > kRowsDirect)
    return strips<kFormat, VectorTiles>(
        args, share_of(args.weights.outputs, kStripOutputs, thread, threads));
  const Share outputs = share_of(args.weights.outputs, kPanel, thread, threads);
  switch (args.rows) {
    case 1:
      return direct<kFormat, 1>(args, outputs);
    case 2:
      return direct<kFormat, 2>(args, outputs);
    case 3:
      return direct<kFormat, 3>(args, outputs);
    case 4:
      return direct<kFormat, 4>(args, outputs);
    default:
      return;
  }
}

// Calls visit.operator()<format>() for a type of int8 form, types without a layout of their own
// being Q8_0 (pack.h). False for floats.
template <typename Visit>
inline bool visit_format(core::DType type, const Visit& visit) {
  using core::DType;
  switch (type) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      return false;
    case DType::kQ4_0:
      visit.template operator()<PackedFormat{4, Scales::kSymmetric}>();
      return true;
    case DType::kQ4_1:
      visit.template operator()<PackedFormat{4, Scales::kMinimum}>();
      return true;
    case DType::kQ5_0:
      visit.template operator()<PackedFormat{5, Scales::kSymmetric}>();
      return true;
    case DType::kQ5_1:
      visit.template operator()<PackedFormat{5, Scales::kMinimum}>();
      return true;
    case DType::kQ4_K:
      visit.template operator()<PackedFormat{4, Scales::kSuperBlock}>();
      return true;
    case DType::kQ5_K:
      visit.template operator()<PackedFormat{5, Scales::kSuperBlock}>();
      return true;
    default:
      visit.template operator()<PackedFormat{8, Scales::kSymmetric}>();
      return true;
  }
}

}  // namespace
}  // namespace sluice::kernels
