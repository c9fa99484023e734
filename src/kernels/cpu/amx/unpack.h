// Packed codes (generic/packed.h) of one block and 16 outputs to a tile of bf16 integers: exact,
// as 8 bits of significand hold all codes. Scales stay outside.
#pragma once

#include "kernels/cpu/amx/tiles.h"

namespace sluice::kernels::amx {
namespace {

// bf16 of code - zero for every code, twice for 4 bits: a lookup takes 5 bits of its index, the
// upper one of which is part of another code.
template <PackedFormat kFormat>
struct CodeTable {
  alignas(64) uint16_t values[32] = {};
  constexpr CodeTable() {
    constexpr int kCodes = 1 << kFormat.bits;
    constexpr int kZero = kFormat.scales == Scales::kSymmetric ? kCodes / 2 : 0;
    for (int i = 0; i < 32; ++i) {
      const auto value = static_cast<float>(i % kCodes - kZero);
      values[i] = static_cast<uint16_t>(__builtin_bit_cast(uint32_t, value) >> 16);
    }
  }
};

// Four rows of a tile: all codes of one vector of nibbles.
template <PackedFormat kFormat, int kVector>
inline void unpack_vector(const uint8_t* block, __m512i table, std::byte* tile) {
  const __m512i codes = _mm512_loadu_si512(block + kVector * 64);
  __m512i fifth = _mm512_setzero_si512();
  if constexpr (kFormat.bits == 5) fifth = _mm512_loadu_si512(block + 4 * 64);
  const auto row = [&]<int kRow>() {
    __m512i index = kRow == 0 ? codes : _mm512_srli_epi16(codes, 4 * kRow);
    if constexpr (kFormat.bits == 5) {
      // The word's fifth bits: of low nibbles at kVector (byte 0) and 8 + kVector (byte 1), of
      // high ones 4 above.
      constexpr int kAt = kVector + kRow % 2 * 4 + kRow / 2 * 8;
      __m512i bit = fifth;
      if constexpr (kAt < 4) bit = _mm512_slli_epi16(fifth, 4 - kAt);
      if constexpr (kAt > 4) bit = _mm512_srli_epi16(fifth, kAt - 4);
      index = _mm512_ternarylogic_epi32(_mm512_set1_epi16(0x0f), index, bit, 0xca);
    }
    _mm512_store_si512(tile + (4 * kVector + kRow) * kRowBytes,
                       _mm512_permutexvar_epi16(index, table));
  };
  row.template operator()<0>();
  row.template operator()<1>();
  row.template operator()<2>();
  row.template operator()<3>();
}

// 16-bit integers to bf16; exact within ±256.
inline __m512i bf16_of_words(__m512i words) {
  const __m512 even = _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(words, 16), 16));
  const __m512 odd = _mm512_cvtepi32_ps(_mm512_srai_epi32(words, 16));
  const __m512i low = _mm512_srli_epi32(_mm512_castps_si512(even), 16);
  return _mm512_mask_blend_epi16(0xaaaaaaaau, low, _mm512_castps_si512(odd));
}

// Vector j < 4 of bytes gives the rows 4j and 4j + 2, vector 4 + j the rows 4j + 1 and 4j + 3.
inline void unpack_bytes(const uint8_t* block, std::byte* tile) {
  const __m512i zero = _mm512_set1_epi8(static_cast<char>(0x80));
  for (int64_t vector = 0; vector < 8; ++vector) {
    const __m512i codes = _mm512_xor_si512(_mm512_loadu_si512(block + vector * 64), zero);
    std::byte* rows = tile + (vector % 4 * 4 + vector / 4) * kRowBytes;
    const __m512i even = _mm512_srai_epi16(_mm512_slli_epi16(codes, 8), 8);
    _mm512_store_si512(rows, bf16_of_words(even));
    _mm512_store_si512(rows + 2 * kRowBytes, bf16_of_words(_mm512_srai_epi16(codes, 8)));
  }
}

// The codes of a block, 16 outputs, to a tile.
template <PackedFormat kFormat>
inline void unpack_codes(const uint8_t* block, std::byte* tile) {
  if constexpr (kFormat.bits == 8) {
    unpack_bytes(block, tile);
  } else {
    static constexpr CodeTable<kFormat> kTable;
    const __m512i table = _mm512_load_si512(kTable.values);
    unpack_vector<kFormat, 0>(block, table, tile);
    unpack_vector<kFormat, 1>(block, table, tile);
    unpack_vector<kFormat, 2>(block, table, tile);
    unpack_vector<kFormat, 3>(block, table, tile);
  }
}

struct BlockScales {
  __m512 scale;
  __m512 minimum;  // zero with kSymmetric
};

// Of block i of a group, 16 outputs.
template <PackedFormat kFormat>
inline BlockScales unpack_scales(const uint8_t* group, int64_t i) {
  const auto f16 = [](const uint8_t* at) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  };
  const auto u8 = [](const uint8_t* at) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at))));
  };
  BlockScales scales{_mm512_setzero_ps(), _mm512_setzero_ps()};
  if constexpr (kFormat.scales == Scales::kSuperBlock) {
    const uint8_t* super = group + kFormat.super_at();
    scales.scale = _mm512_mul_ps(f16(super), u8(group + kFormat.scales_at() + i * kPanel));
    scales.minimum =
        _mm512_mul_ps(f16(super + kPanel * 2), u8(group + kFormat.minima_at() + i * kPanel));
    return scales;
  }
  scales.scale = f16(group + kFormat.scales_at() + i * kPanel * 2);
  if constexpr (kFormat.scales == Scales::kMinimum)
    scales.minimum = f16(group + kFormat.minima_at() + i * kPanel * 2);
  return scales;
}

}  // namespace
}  // namespace sluice::kernels::amx
