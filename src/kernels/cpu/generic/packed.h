// The layouts that pack() writes and the vector kernels read. Internal linkage, no intrinsics.
//
// Weights lie in panels of kPanel outputs, lane = output, so that a dot product needs no sum across
// lanes. The k dimension is cut into blocks of 32 values; `group` consecutive blocks lie together,
// so that every array starts on a cache line (16 outputs × one group):
//   codes      group × kBits·64 bytes. Of one block, in vectors of 64 bytes = 16 lanes × 4 bytes:
//              4 bits: vector j < 4 holds values 4j…4j+3 in low nibbles, 16+4j… in high ones
//              5 bits: the same, then one vector of fifth bits: bit g of byte (lane, b) belongs to
//                      value 4g + b
//              6 bits: the same as 4, then two vectors of pairs of bits: bits 2g and 2g + 1 of byte
//                      (lane, b) of vector h belong to value 16h + 4g + b
//              8 bits: vector j < 8 holds values 4j…4j+3; code = value + 128
//   scales     group × 16 f16, or kSuperBlock: group × 16 u8, or kHalves: group × 16 i8
//   minima     the same, with kMinimum and kSuperBlock; with kHalves scales of the second halves
//   d, -dmin   16 f16 each, with kSuperBlock: scale = d · u8, minimum = -dmin · u8; with kHalves
//              d alone: scale = d · i8
// value = scale · (code - zero), zero = 2^(kBits-1), with kSymmetric and with kHalves, where a
// block has a scale for its first 16 values and one for the others; else scale · code + minimum;
// scale · kTwiceE2m1[code] with kE2m1, which is symmetric.
//
// Floats: panels of 16 outputs too, element (k, lane).
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels {
namespace {

constexpr int64_t kPanel = 16;
constexpr int64_t kBlock = kActivationBlock;

enum class Scales : uint8_t { kSymmetric, kMinimum, kSuperBlock, kHalves };

// What a code says: its own number, or kTwiceE2m1[code]; unpacked with a zero in the middle of its
// range as the others are, or signed.
enum class CodeValues : uint8_t { kWhole, kE2m1, kSignedE2m1 };

struct PackedFormat {
  int bits = 0;
  Scales scales = Scales::kSymmetric;
  CodeValues values = CodeValues::kWhole;

  // That what a code says needs.
  constexpr int value_bits() const { return values == CodeValues::kWhole ? bits : 5; }

  constexpr bool has_super() const {
    return scales == Scales::kSuperBlock || scales == Scales::kHalves;
  }
  constexpr int64_t group() const { return has_super() ? 8 : 2; }
  constexpr int64_t block_code_bytes() const { return bits * 64; }
  constexpr int64_t scale_bytes() const { return has_super() ? 16 : 32; }
  constexpr int64_t scales_at() const { return group() * block_code_bytes(); }
  constexpr int64_t minima_at() const { return scales_at() + group() * scale_bytes(); }
  constexpr int64_t super_at() const { return minima_at() + group() * scale_bytes(); }
  constexpr int64_t group_bytes() const {
    if (scales == Scales::kSymmetric) return minima_at();
    return scales == Scales::kMinimum ? super_at() : super_at() + 64;
  }
  constexpr int64_t panel_bytes(int64_t inputs) const {
    const int64_t blocks = inputs / kBlock;
    return (blocks + group() - 1) / group() * group_bytes();
  }
};

// Quantised activations of `rows` rows, in groups of kRowGroup rows (or all of them, where fewer),
// blocks in turn: what a register tile reads lies side by side. Of a block of a group:
//   codes   i8 (group, 32)
//   scales  f32 (4, group): scale (x ≈ scale · code); scale · Σ codes, which a minimum is
//           multiplied with; and, as i32, where an accumulator of codes with zero 128 starts:
//           -128 · Σ codes, and the same of the first half of the block
constexpr int64_t kRowGroup = 48;  // whole tiles of 3, 6 and 16 rows

struct ActivationLayout {
  int64_t inputs;
  int64_t rows;

  constexpr int64_t blocks() const { return inputs / kBlock; }
  constexpr int64_t group() const { return rows < kRowGroup ? rows : kRowGroup; }
  constexpr int64_t array_bytes() const { return group() * 4; }  // one of the four
  constexpr int64_t block_bytes() const { return group() * kBlock + 4 * array_bytes(); }
  constexpr int64_t group_bytes() const { return (blocks() * block_bytes() + 63) / 64 * 64; }
  constexpr int64_t bytes() const {
    return rows == 0 ? 0 : (rows + group() - 1) / group() * group_bytes();
  }
  // Of a row: its codes of the first block, and its entry of that block's first array.
  constexpr int64_t codes_at(int64_t row) const {
    return row / kRowGroup * group_bytes() + row % kRowGroup * kBlock;
  }
  constexpr int64_t scales_at(int64_t row) const {
    return row / kRowGroup * group_bytes() + group() * kBlock + row % kRowGroup * 4;
  }
};

// core::split of core/thread_pool.h, for files whose functions must not be shared.
struct Share {
  int64_t begin, end;
};
constexpr Share share_of(int64_t count, int64_t unit, int thread, int threads) {
  const int64_t units = (count + unit - 1) / unit;
  const int64_t begin = units * thread / threads * unit;
  const int64_t end = units * (thread + 1) / threads * unit;
  return {begin < count ? begin : count, end < count ? end : count};
}
// The outputs of a call, which lie side by side.
constexpr Share share_of(const LinearArgs& args, int64_t unit, int thread, int threads) {
  const auto [index, count] = args.portion;
  return share_of(args.weights.outputs, unit, thread * count + index, threads * count);
}
// Of `count` steps through a thread's share those of a portion: one walk, whoever makes its parts.
constexpr Share steps_of(const Portion& portion, int64_t count) {
  return share_of(count, 1, portion.index, portion.count);
}

}  // namespace
}  // namespace sluice::kernels
