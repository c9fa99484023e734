// Attention over int8 pages on the tile unit: the online softmax of generic/attention.inc in
// products of integers, straight from the pages.
//
// Queries, and the weights of a block of positions, become codes of 16 bits with one unit each: a
// high and a low byte, which are two rows of a tile, so that keys and values are read once for
// both. Sums of products are exact in int32; a score is its sum times the query's unit and the
// token's scale; a weight is multiplied by the scale of its token's values before it becomes a
// code. So what int8 pages hold is all that is lost, and no order of sums can change the bits.
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/vector.h"
// After the vector that it is written in.
#include "kernels/cpu/amx/attention_tiles.inc"

namespace sluice::kernels::amx {
namespace {

constexpr int64_t kKeyRowBytes = kPageTokens * 4;  // four dimensions of a page's tokens
constexpr float kCodeMax = 127 * 256 + 127;

// 16 values divided by their unit, as a high and a low byte of each.
struct Codes {
  __m128i high, low;
};
inline Codes codes_of(__m512 values, __m512 inverse) {
  const __m512i code = _mm512_cvtps_epi32(_mm512_mul_ps(values, inverse));
  const __m512i high = _mm512_srai_epi32(_mm512_add_epi32(code, _mm512_set1_epi32(128)), 8);
  const __m512i low = _mm512_sub_epi32(code, _mm512_slli_epi32(high, 8));
  return {_mm512_cvtepi32_epi8(high), _mm512_cvtepi32_epi8(low)};
}
inline void store(int8_t* to, __m128i bytes) {
  _mm_store_si128(reinterpret_cast<__m128i*>(to), bytes);
}
inline __m512 whole_of(const int32_t* high, const int32_t* low) {
  return _mm512_cvtepi32_ps(
      _mm512_add_epi32(_mm512_slli_epi32(_mm512_load_si512(high), 8), _mm512_load_si512(low)));
}

// Of values whose largest size is `largest`; not a number where one of them is no finite number.
struct Unit {
  float unit, inverse;
};
inline Unit unit_of(float largest, __mmask16 not_finite) {
  if (not_finite != 0) return {__builtin_nanf(""), 0.0f};
  return {largest / kCodeMax, largest > 0 ? kCodeMax / largest : 0.0f};
}
inline __mmask16 not_finite(__m512 x) {
  return _mm512_fpclass_ps_mask(x, 0x99);  // NaN of both kinds, both infinities
}

constexpr TileConfig config_of(int queries) {
  TileConfig config(2 * queries, 1);
  config.row_bytes[4] = 64;  // codes of queries for 64 dimensions; 5: of weights for 32 tokens
  config.rows[6] = 16;       // 64 dimensions of 16 keys; 7: 32 tokens of 16 columns
  return config;
}

struct Int8Kernel {
  static constexpr int32_t kTileQueries = static_cast<int32_t>(kTileRows) / 2;

  struct Tile {
    // Rows: the high bytes of `count` queries, then their low bytes.
    alignas(64) int8_t codes[kHeadDimMax / kInt8TileDims][kTileRows][kInt8TileDims];
    float units[kTileQueries];  // with the scale of scores
    int32_t count;
    int32_t positions[kTileQueries];
  };

  struct Block {
    BlockPages pages;
    void load(const KvLayer&, const BlockPages& at, int32_t) { pages = at; }
  };

  static void start(const AttentionArgs& args, const Item& item, int32_t first, Tile& tile) {
    const int32_t group = args.heads / args.kv.kv_heads, left = item.queries - first;
    tile.count = left < kTileQueries ? left : kTileQueries;
    for (int32_t r = 0; r < tile.count; ++r) {
      const float* q = query_at(args, item, first + r);
      __m512 largest = _mm512_setzero_ps();
      __mmask16 bad = 0;
      for (int32_t d = 0; d < args.kv.head_dim; d += 16) {
        const __m512 x = _mm512_loadu_ps(q + d);
        largest = _mm512_max_ps(largest, _mm512_abs_ps(x));
        bad |= not_finite(x);
      }
      const Unit unit = unit_of(_mm512_reduce_max_ps(largest), bad);
      for (int32_t d = 0; d < args.kv.head_dim; d += 16) {
        const Codes codes = codes_of(_mm512_loadu_ps(q + d), _mm512_set1_ps(unit.inverse));
        auto& rows = tile.codes[d / kInt8TileDims];
        store(rows[r] + d % kInt8TileDims, codes.high);
        store(rows[tile.count + r] + d % kInt8TileDims, codes.low);
      }
      tile.units[r] = unit.unit * args.scale;
      tile.positions[r] = item.span->first_position + (item.first + first + r) / group;
    }
  }

  static void configure(int32_t queries) {
    static constexpr TileConfig kConfigs[] = {config_of(1), config_of(2), config_of(3),
                                              config_of(4), config_of(5), config_of(6),
                                              config_of(7), config_of(8)};
    _tile_loadconfig(&kConfigs[queries - 1]);
  }

  template <int kPages, Ahead kAhead>
  static void visit(const Visit<Int8Kernel>& v) {
    constexpr int kVectors = kPages * 2;
    const int32_t count = v.tile.count;
    alignas(64) int32_t key_sums[kTileRows][kBlockTokens];
    alignas(64) int32_t value_sums[kTileRows * kHeadDimMax];
    alignas(64) Weights codes;
    float units[kTileQueries], shrinks[kTileQueries];
    multiply_keys<kPages, kAhead>(v, key_sums);
    memory_fence();
    for (int32_t r = 0; r < count; ++r) {
      __m512 scores[kVectors];
      const __m512 unit = _mm512_set1_ps(v.tile.units[r]);
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) {
        const int32_t t = i * 16;
        const __m512 scale =
            _mm512_loadu_ps(v.block.pages.key_scales[t / kPageTokens] + t % kPageTokens);
        const __m512 sum = whole_of(key_sums[r] + t, key_sums[count + r] + t);
        scores[i] = _mm512_mul_ps(_mm512_mul_ps(sum, unit), scale);
      }
      shrinks[r] =
          weigh_vectors(scores, v.tile.positions[r] + 1 - v.from, v.state.max[r], v.state.sums[r]);
      units[r] = store_weights<kPages>(v, r, scores, codes);
    }
    memory_fence();
    multiply_values<kPages, kAhead>(v, codes, value_sums);
    memory_fence();
    for (int32_t r = 0; r < count; ++r) {
      const __m512 unit = _mm512_set1_ps(units[r]), shrink = _mm512_set1_ps(shrinks[r]);
      float* values = v.state.values + r * v.head_dim;
      for (int32_t d = 0; d < v.head_dim; d += 16) {
        const __m512 sum =
            whole_of(value_sums + r * v.head_dim + d, value_sums + (count + r) * v.head_dim + d);
        _mm512_store_ps(
            values + d,
            _mm512_fmadd_ps(sum, unit, _mm512_mul_ps(_mm512_load_ps(values + d), shrink)));
      }
    }
    if constexpr (kAhead == Ahead::kNone) return;
    for (int p = 0; p < kBlockPages; ++p) {
      prefetch_lines<kAhead, 2>(v.coming.next.key_scales[p], v.coming.after_next.key_scales[p]);
      prefetch_lines<kAhead, 2>(v.coming.next.value_scales[p], v.coming.after_next.value_scales[p]);
    }
  }

 private:
  using Weights = int8_t[kBlockPages][kTileRows][kPageTokens];

  // sums (rows, kBlockTokens) of the block's first kPages pages.
  template <int kPages, Ahead kAhead>
  static inline void multiply_keys(const Visit<Int8Kernel>& v, int32_t (*sums)[kBlockTokens]) {
    const BlockPages& pages = v.block.pages;
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (kPages == 2) {
      _tile_zero(2);
      _tile_zero(3);
    }
    for (int32_t d = 0; d < v.head_dim / kInt8TileDims; ++d) {
      const int64_t at = d * kTileRows * kKeyRowBytes;
      _tile_loadd(4, v.tile.codes[d], kInt8TileDims);
      _tile_loadd(6, pages.keys[0] + at, kKeyRowBytes);
      _tile_dpbssd(0, 4, 6);
      _tile_loadd(6, pages.keys[0] + at + 64, kKeyRowBytes);
      _tile_dpbssd(1, 4, 6);
      prefetch_lines<kAhead, 32>(v.coming.next.keys[0] + at, v.coming.after_next.keys[0] + at);
      if constexpr (kPages == 2) {
        _tile_loadd(6, pages.keys[1] + at, kKeyRowBytes);
        _tile_dpbssd(2, 4, 6);
        _tile_loadd(6, pages.keys[1] + at + 64, kKeyRowBytes);
        _tile_dpbssd(3, 4, 6);
      }
      prefetch_lines<kAhead, 32>(v.coming.next.keys[1] + at, v.coming.after_next.keys[1] + at);
    }
    constexpr int64_t kStride = kBlockTokens * 4;
    _tile_stored(0, sums[0], kStride);
    _tile_stored(1, sums[0] + 16, kStride);
    if constexpr (kPages == 2) {
      _tile_stored(2, sums[0] + 32, kStride);
      _tile_stored(3, sums[0] + 48, kStride);
    }
  }

  // sums (rows, head_dim) = codes of weights · values.
  template <int kPages, Ahead kAhead>
  static inline void multiply_values(const Visit<Int8Kernel>& v, const Weights& weights,
                                     int32_t* sums) {
    const BlockPages& pages = v.block.pages;
    const int64_t stride = v.head_dim * 4;
    for (int64_t column = 0; column < stride; column += 4 * kRowBytes) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
#pragma GCC unroll 2
      for (int p = 0; p < kPages; ++p) {
        const std::byte* values = pages.values[p] + column;
        _tile_loadd(5, weights[p], kPageTokens);
        _tile_loadd(7, values, stride);
        _tile_dpbssd(0, 5, 7);
        _tile_loadd(7, values + kRowBytes, stride);
        _tile_dpbssd(1, 5, 7);
        _tile_loadd(7, values + 2 * kRowBytes, stride);
        _tile_dpbssd(2, 5, 7);
        _tile_loadd(7, values + 3 * kRowBytes, stride);
        _tile_dpbssd(3, 5, 7);
        prefetch_lines<kAhead, 32>(v.coming.next.values[p] + column * 8,
                                   v.coming.after_next.values[p] + column * 8);
      }
      if constexpr (kPages == 1)
        prefetch_lines<kAhead, 32>(v.coming.next.values[1] + column * 8,
                                   v.coming.after_next.values[1] + column * 8);
      std::byte* at = reinterpret_cast<std::byte*>(sums) + column;
      _tile_stored(0, at, stride);
      _tile_stored(1, at + kRowBytes, stride);
      _tile_stored(2, at + 2 * kRowBytes, stride);
      _tile_stored(3, at + 3 * kRowBytes, stride);
    }
  }

  // Weights of the first `valid` positions times their values' scales, as codes in query r's rows.
  // Returns their unit.
  template <int kPages>
  static inline float store_weights(const Visit<Int8Kernel>& v, int32_t r,
                                    const __m512 (&weights)[kPages * 2], Weights& codes) {
    constexpr int kVectors = kPages * 2;
    const int32_t valid = v.tile.positions[r] + 1 - v.from;
    __m512 scaled[kVectors], largest = _mm512_setzero_ps();
    __mmask16 bad = 0;
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      const int32_t left = valid - i * 16;
      const auto used = static_cast<__mmask16>(left <= 0 ? 0 : left < 16 ? (1 << left) - 1 : -1);
      const float* scales = v.block.pages.value_scales[i / 2] + i % 2 * 16;
      scaled[i] = _mm512_maskz_mul_ps(used, weights[i], _mm512_loadu_ps(scales));
      largest = _mm512_max_ps(largest, scaled[i]);
      bad |= not_finite(scaled[i]);
    }
    const Unit unit = unit_of(_mm512_reduce_max_ps(largest), bad);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      const Codes bytes = codes_of(scaled[i], _mm512_set1_ps(unit.inverse));
      store(codes[i / 2][r] + i % 2 * 16, bytes.high);
      store(codes[i / 2][v.tile.count + r] + i % 2 * 16, bytes.low);
    }
    return unit.unit;
  }
};

}  // namespace

void attention_int8(const AttentionArgs& args, int thread, int threads) {
  attention_on_tiles<Int8Kernel>(args, thread, threads);
}

}  // namespace sluice::kernels::amx
