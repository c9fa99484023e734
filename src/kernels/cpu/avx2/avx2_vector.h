// Vectors of 8 lanes for the kernels of generic/*.inc. Everything has internal linkage: these
// functions exist only in files compiled for this processor.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace sluice::kernels {
namespace {

struct Avx2Vector {
  using Floats = __m256;
  using Ints = __m256i;  // 8 × i32, or 32 bytes
  static constexpr int kLanes = 8;
  static constexpr int kTileRows = 3;      // rows of a register tile, two vectors wide
  static constexpr bool kWideDot = false;  // dot() takes weights below 128, signed_dot() all

  static Floats zero() { return _mm256_setzero_ps(); }
  static Floats set(float x) { return _mm256_set1_ps(x); }
  static Floats load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Floats x) { _mm256_storeu_ps(p, x); }
  static __m256i first(int64_t count) {
    const __m256i lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane);
  }
  static Floats load_first(const float* p, int64_t count) {
    return _mm256_maskload_ps(p, first(count));
  }
  static void store_first(float* p, Floats x, int64_t count) {
    _mm256_maskstore_ps(p, first(count), x);
  }
  static Floats load_f16(const void* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  static void store_f16(void* p, Floats x) {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  static Floats load_bf16(const void* p) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
  static Floats load_u8(const uint8_t* p) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static Floats load_i8(const uint8_t* p) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }

  static Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static Floats sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
  static Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats div(Floats a, Floats b) { return _mm256_div_ps(a, b); }
  static Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
  static Floats min(Floats a, Floats b) { return _mm256_min_ps(a, b); }
  static Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  static Floats abs(Floats a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
  static Floats round(Floats a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  // x · 2^n for whole n ≤ 127; 0 for n below -126.
  static Floats scale_by_power(Floats x, Floats n) {
    const __m256i exponent =
        _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_max_ps(n, set(-127))), _mm256_set1_epi32(127));
    return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
  }
  // Lanes [0, count) of x, the others of other.
  static Floats select_first(Floats x, Floats other, int64_t count) {
    return count >= kLanes ? x : _mm256_blendv_ps(other, x, _mm256_castsi256_ps(first(count)));
  }
  // Bit i: a[i] ≥ b[i].
  static uint32_t not_below(Floats a, Floats b) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)));
  }
  static float max_of(Floats x) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static float sum_of(Floats x) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  // (x0, x1, x2, x3, …) → (x1, x0, x3, x2, …)
  static Floats swap_pairs(Floats x) { return _mm256_permute_ps(x, 0xb1); }
  // (a0, a0, a1, a1, …) of the first half of the lanes at p.
  static Floats load_doubled(const float* p) {
    const __m256i index = _mm256_set_epi32(3, 3, 2, 2, 1, 1, 0, 0);
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), index);
  }
  // a·b - c in even lanes, a·b + c in odd ones.
  static Floats fma_subtract_add(Floats a, Floats b, Floats c) {
    return _mm256_fmaddsub_ps(a, b, c);
  }

  static Ints zero_ints() { return _mm256_setzero_si256(); }
  static Ints set_int(int32_t x) { return _mm256_set1_epi32(x); }
  static Ints set_bytes(uint8_t x) { return _mm256_set1_epi8(static_cast<char>(x)); }
  static Ints load_ints(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  static void store_ints(void* p, Ints x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }
  static Ints load_four_bytes(const void* p) {
    int32_t word;
    std::memcpy(&word, p, sizeof word);
    return _mm256_set1_epi32(word);
  }
  static Ints bit_and(Ints a, Ints b) { return _mm256_and_si256(a, b); }
  // (a & mask) | b
  static Ints and_or(Ints a, Ints mask, Ints b) {
    return _mm256_or_si256(_mm256_and_si256(a, mask), b);
  }
  template <int kBits>
  static Ints shift_left_16(Ints a) {
    return _mm256_slli_epi16(a, kBits);
  }
  template <int kBits>
  static Ints shift_right_16(Ints a) {
    return _mm256_srli_epi16(a, kBits);
  }
  template <int kBits>
  static Ints shift_right_signed(Ints a) {
    return _mm256_srai_epi32(a, kBits);
  }
  static Ints add_ints(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
  static Ints sub_ints(Ints a, Ints b) { return _mm256_sub_epi32(a, b); }
  static Ints rounded(Floats x) { return _mm256_cvtps_epi32(x); }
  static Floats floats(Ints x) { return _mm256_cvtepi32_ps(x); }
  static int32_t sum_of_ints(Ints x) {
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
  }
  static void store_i8(int8_t* p, Ints x) {
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
  }

  // sum[lane] += Σ over the lane's four bytes of unsigned weight · signed x. Weights below 128,
  // or the 16-bit sums of two products would saturate.
  static Ints dot(Ints sum, Ints weights, Ints x) {
    const Ints pairs = _mm256_maddubs_epi16(weights, x);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  // The same for signed weights (-128 … 127), x in -127 … 127.
  static Ints signed_dot(Ints sum, Ints weights, Ints x) {
    return dot(sum, _mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
  }
  // 16 bytes, and those that indices below 16 choose of them.
  static Ints load_table(const uint8_t* p) {
    return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Ints look_up(Ints table, Ints indices) { return _mm256_shuffle_epi8(table, indices); }
  static Ints flip_sign_bits(Ints a) { return _mm256_xor_si256(a, set_bytes(0x80)); }
};

}  // namespace
}  // namespace sluice::kernels
