// Vectors of 16 lanes for the kernels of generic/*.inc. Everything has internal linkage: these
// functions exist only in files compiled for this processor.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace sluice::kernels {
namespace {

struct Vector {
  using Floats = __m512;
  using Ints = __m512i;  // 16 × i32, or 64 bytes
  static constexpr int kLanes = 16;
  static constexpr int kTileRows = 6;     // rows of a register tile, two vectors wide
  static constexpr bool kWideDot = true;  // dot() takes all unsigned bytes

  static Floats zero() { return _mm512_setzero_ps(); }
  static Floats set(float x) { return _mm512_set1_ps(x); }
  static Floats load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Floats x) { _mm512_storeu_ps(p, x); }
  static __mmask16 first(int64_t count) { return static_cast<__mmask16>((1u << count) - 1); }
  static Floats load_first(const float* p, int64_t count) {
    return _mm512_maskz_loadu_ps(first(count), p);
  }
  static void store_first(float* p, Floats x, int64_t count) {
    _mm512_mask_storeu_ps(p, first(count), x);
  }
  static Floats load_f16(const void* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  static void store_f16(void* p, Floats x) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  static Floats load_bf16(const void* p) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
  static Floats load_u8(const uint8_t* p) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static Floats load_i8(const uint8_t* p) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }

  static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
  static Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
  static Floats min(Floats a, Floats b) { return _mm512_min_ps(a, b); }
  static Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static Floats abs(Floats a) { return _mm512_abs_ps(a); }
  static Floats round(Floats a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
  // x · 2^n for whole n; results below the normal range become 0.
  static Floats scale_by_power(Floats x, Floats n) { return _mm512_scalef_ps(x, n); }
  // Lanes [0, count) of x, the others of other.
  static Floats select_first(Floats x, Floats other, int64_t count) {
    return count >= kLanes ? x : _mm512_mask_blend_ps(count <= 0 ? 0 : first(count), other, x);
  }
  // Bit i: a[i] ≥ b[i].
  static uint32_t not_below(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
  static float max_of(Floats x) { return _mm512_reduce_max_ps(x); }
  static float sum_of(Floats x) { return _mm512_reduce_add_ps(x); }
  // (x0, x1, x2, x3, …) → (x1, x0, x3, x2, …)
  static Floats swap_pairs(Floats x) { return _mm512_permute_ps(x, 0xb1); }
  // (a0, a0, a1, a1, …) of the first half of the lanes at p.
  static Floats load_doubled(const float* p) {
    const __m512i index = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    return _mm512_permutexvar_ps(index, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
  }
  // a·b - c in even lanes, a·b + c in odd ones.
  static Floats fma_subtract_add(Floats a, Floats b, Floats c) {
    return _mm512_fmaddsub_ps(a, b, c);
  }

  static Ints zero_ints() { return _mm512_setzero_si512(); }
  static Ints set_int(int32_t x) { return _mm512_set1_epi32(x); }
  static Ints set_bytes(uint8_t x) { return _mm512_set1_epi8(static_cast<char>(x)); }
  static Ints load_ints(const void* p) { return _mm512_loadu_si512(p); }
  static void store_ints(void* p, Ints x) { _mm512_storeu_si512(p, x); }
  static Ints load_four_bytes(const void* p) {
    int32_t word;
    std::memcpy(&word, p, sizeof word);
    return _mm512_set1_epi32(word);
  }
  static Ints bit_and(Ints a, Ints b) { return _mm512_and_si512(a, b); }
  // (a & mask) | b
  static Ints and_or(Ints a, Ints mask, Ints b) {
    return _mm512_ternarylogic_epi32(a, mask, b, 0xea);
  }
  template <int kBits>
  static Ints shift_left_16(Ints a) {
    return _mm512_slli_epi16(a, kBits);
  }
  template <int kBits>
  static Ints shift_right_16(Ints a) {
    return _mm512_srli_epi16(a, kBits);
  }
  template <int kBits>
  static Ints shift_right_signed(Ints a) {
    return _mm512_srai_epi32(a, kBits);
  }
  // 16 bytes, and those that indices below 16 choose of them.
  static Ints load_table(const uint8_t* p) {
    return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Ints look_up(Ints table, Ints indices) { return _mm512_shuffle_epi8(table, indices); }
  static Ints flip_sign_bits(Ints bytes) { return _mm512_xor_si512(bytes, set_bytes(0x80)); }
  static Ints add_ints(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  static Ints sub_ints(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
  static Ints rounded(Floats x) { return _mm512_cvtps_epi32(x); }
  static Floats floats(Ints x) { return _mm512_cvtepi32_ps(x); }
  static int32_t sum_of_ints(Ints x) { return _mm512_reduce_add_epi32(x); }
  static void store_i8(int8_t* p, Ints x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x));
  }

  // sum[lane] += Σ over the lane's four bytes of unsigned weight · signed x.
  static Ints dot(Ints sum, Ints weights, Ints x) { return _mm512_dpbusd_epi32(sum, weights, x); }
};

}  // namespace
}  // namespace sluice::kernels
