// Attention over bf16 pages on the tile unit: the online softmax of generic/attention.inc, whose
// scores and weighted sums are products of tiles straight from the pages.
//
// A query meets its positions in segments and blocks as there. Scores: tile products over head_dim
// in order. One maximum, one rescaling; weights are rounded to bf16 and meet the
// values page by page, on top of the sums so far. Rows of a tile do not meet, and a weight of zero
// adds zero, so a query's bits depend on its own positions alone.
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/vector.h"
#include "kernels/cpu/generic/pack.h"
// After the vector that it is written in.
#include "kernels/cpu/amx/attention_tiles.inc"

namespace sluice::kernels::amx {
namespace {

constexpr int64_t kKeyRowBytes = kPageTokens * 4;  // a pair of dimensions of a page's tokens

// The first `tokens` values of a page, zeros behind them: what lies there may not be a number.
void copy_values(const std::byte* values, int32_t tokens, int32_t head_dim, std::byte* copy) {
  const int64_t pair_bytes = head_dim * 4;
  __builtin_memset(copy, 0, static_cast<size_t>(kPageTokens / 2 * pair_bytes));
  __builtin_memcpy(copy, values, static_cast<size_t>(tokens / 2 * pair_bytes));
  if (tokens % 2 == 0) return;
  for (int64_t at = tokens / 2 * pair_bytes; at < (tokens / 2 + 1) * pair_bytes; at += 64)
    _mm512_store_si512(
        copy + at, _mm512_and_si512(_mm512_loadu_si512(values + at), _mm512_set1_epi32(0xffff)));
}

struct Bf16Kernel {
  static constexpr int32_t kTileQueries = static_cast<int32_t>(kTileRows);

  struct Tile {
    alignas(64) uint16_t q[kHeadDimMax / kBlock][kTileRows][kBlock];  // scaled, bf16
    int32_t count;
    int32_t positions[kTileRows];
  };

  struct Block {
    BlockPages pages;
    alignas(64) std::byte last_values[kPageTokens * kHeadDimMax * 2];

    // `positions`: from the block's first to the item's last.
    void load(const KvLayer& kv, const BlockPages& at, int32_t positions) {
      pages = at;
      const int32_t page = (positions - 1) / kPageTokens;
      if (page >= kBlockPages || positions % kPageTokens == 0) return;
      copy_values(pages.values[page], positions % kPageTokens, kv.head_dim, last_values);
      pages.values[page] = last_values;
    }
  };

  static void start(const AttentionArgs& args, const Item& item, int32_t first, Tile& tile) {
    const int32_t group = args.heads / args.kv.kv_heads, left = item.queries - first;
    tile.count = left < kTileQueries ? left : kTileQueries;
    const __m512 scale = _mm512_set1_ps(args.scale);
    for (int32_t r = 0; r < tile.count; ++r) {
      const float* q = query_at(args, item, first + r);
      for (int32_t d = 0; d < args.kv.head_dim; d += kBlock) {
        const __m512 low = _mm512_mul_ps(_mm512_loadu_ps(q + d), scale);
        const __m512 high = _mm512_mul_ps(_mm512_loadu_ps(q + d + 16), scale);
        _mm512_store_si512(tile.q[d / kBlock][r], (__m512i)_mm512_cvtne2ps_pbh(high, low));
      }
      tile.positions[r] = item.span->first_position + (item.first + first + r) / group;
    }
  }

  static void configure(int32_t queries) {
    static constexpr TileConfig kConfigs[] = {{1, 2},  {2, 2},  {3, 2},  {4, 2},  {5, 2},  {6, 2},
                                              {7, 2},  {8, 2},  {9, 2},  {10, 2}, {11, 2}, {12, 2},
                                              {13, 2}, {14, 2}, {15, 2}, {16, 2}};
    _tile_loadconfig(&kConfigs[queries - 1]);
  }

  template <int kPages, Ahead kAhead>
  static void visit(const Visit<Bf16Kernel>& v) {
    constexpr int kVectors = kPages * 2;
    alignas(64) float scores[kTileRows][kBlockTokens];
    alignas(64) Weights weights;
    multiply_keys<kPages, kAhead>(v, scores);
    memory_fence();
    for (int32_t r = 0; r < v.tile.count; ++r) {
      __m512 row[kVectors];
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) row[i] = _mm512_load_ps(scores[r] + i * 16);
      const float shrink =
          weigh_vectors(row, v.tile.positions[r] + 1 - v.from, v.state.max[r], v.state.sums[r]);
#pragma GCC unroll 2
      for (int p = 0; p < kPages; ++p)
        _mm512_store_si512(weights[p][r], (__m512i)_mm512_cvtne2ps_pbh(row[2 * p + 1], row[2 * p]));
      if (shrink == 1) continue;
      for (int32_t d = 0; d < v.head_dim; d += 16) {
        float* at = v.state.values + r * v.head_dim + d;
        _mm512_store_ps(at, _mm512_mul_ps(_mm512_load_ps(at), _mm512_set1_ps(shrink)));
      }
    }
    memory_fence();
    multiply_values<kPages, kAhead>(v, weights);
    memory_fence();
  }

 private:
  using Weights = uint16_t[kBlockPages][kTileRows][kPageTokens];

  // scores (queries, kBlockTokens) of the block's first kPages pages.
  template <int kPages, Ahead kAhead>
  static inline void multiply_keys(const Visit<Bf16Kernel>& v, float (*scores)[kBlockTokens]) {
    const BlockPages& pages = v.block.pages;
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (kPages == 2) {
      _tile_zero(2);
      _tile_zero(3);
    }
    for (int32_t d = 0; d < v.head_dim / kBlock; ++d) {
      const int64_t at = d * kTileRows * kKeyRowBytes;
      _tile_loadd(4, v.tile.q[d], kRowBytes);
      _tile_loadd(6, pages.keys[0] + at, kKeyRowBytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, pages.keys[0] + at + 64, kKeyRowBytes);
      _tile_dpbf16ps(1, 4, 7);
      prefetch_lines<kAhead, 32>(v.coming.next.keys[0] + at, v.coming.after_next.keys[0] + at);
      if constexpr (kPages == 2) {
        _tile_loadd(6, pages.keys[1] + at, kKeyRowBytes);
        _tile_dpbf16ps(2, 4, 6);
        _tile_loadd(7, pages.keys[1] + at + 64, kKeyRowBytes);
        _tile_dpbf16ps(3, 4, 7);
      }
      prefetch_lines<kAhead, 32>(v.coming.next.keys[1] + at, v.coming.after_next.keys[1] + at);
    }
    constexpr int64_t kStride = kBlockTokens * 4;
    _tile_stored(0, scores[0], kStride);
    _tile_stored(1, scores[0] + 16, kStride);
    if constexpr (kPages == 2) {
      _tile_stored(2, scores[0] + 32, kStride);
      _tile_stored(3, scores[0] + 48, kStride);
    }
  }

  // The sums += weights · values, 32 columns at a time.
  template <int kPages, Ahead kAhead>
  static inline void multiply_values(const Visit<Bf16Kernel>& v, const Weights& weights) {
    const BlockPages& pages = v.block.pages;
    const int64_t stride = v.head_dim * 4;
    for (int64_t column = 0; column < stride; column += 2 * kRowBytes) {
      std::byte* at = reinterpret_cast<std::byte*>(v.state.values) + column;
      _tile_loadd(0, at, stride);
      _tile_loadd(1, at + kRowBytes, stride);
      _tile_loadd(4, weights[0], kRowBytes);
      _tile_loadd(6, pages.values[0] + column, stride);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, pages.values[0] + column + kRowBytes, stride);
      _tile_dpbf16ps(1, 4, 7);
      prefetch_lines<kAhead, 32>(v.coming.next.values[0] + column * 16,
                                 v.coming.after_next.values[0] + column * 16);
      if constexpr (kPages == 2) {
        _tile_loadd(5, weights[1], kRowBytes);
        _tile_loadd(6, pages.values[1] + column, stride);
        _tile_dpbf16ps(0, 5, 6);
        _tile_loadd(7, pages.values[1] + column + kRowBytes, stride);
        _tile_dpbf16ps(1, 5, 7);
      }
      prefetch_lines<kAhead, 32>(v.coming.next.values[1] + column * 16,
                                 v.coming.after_next.values[1] + column * 16);
      _tile_stored(0, at, stride);
      _tile_stored(1, at + kRowBytes, stride);
    }
  }
};

}  // namespace

KvFormat kv_format(int32_t head_dim) {
  return head_dim % kBlock == 0 ? KvFormat::kBf16 : KvFormat::kF16;
}

bool reads_kv(KvFormat format, int32_t head_dim) {
  return format == KvFormat::kBf16 ? head_dim % kBlock == 0 : cpu::reads_kv(format, head_dim);
}

void attention(const AttentionArgs& args, int thread, int threads) {
  if (args.kv.format == KvFormat::kBf16)
    return attention_on_tiles<Bf16Kernel>(args, thread, threads);
  if (args.kv.format == KvFormat::kInt8 && args.kv.head_dim % kInt8TileDims == 0)
    return attention_int8(args, thread, threads);
  avx512::attention(args, thread, threads);
}

void attention_join(const AttentionArgs& args, int thread, int threads) {
  join_items(args, thread, threads);
}

}  // namespace sluice::kernels::amx
