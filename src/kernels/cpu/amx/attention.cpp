// Attention over bf16 pages on the tile unit: the online softmax of generic/attention.inc, whose
// scores and weighted sums are products of tiles straight from the pages.
//
// A query meets its positions in segments and blocks as there. Scores: tile products over head_dim
// in order. One maximum, one rescaling; weights are rounded to bf16 and meet the
// values page by page, on top of the sums so far. Rows of a tile do not meet, and a weight of zero
// adds zero, so a query's bits depend on its own positions alone.
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/vector.h"
#include "kernels/cpu/generic/pack.h"
// After the vector that it is written in.
#include "kernels/cpu/generic/attention.inc"

namespace sluice::kernels::amx {
namespace {

constexpr int32_t kTiles = kQueries / static_cast<int32_t>(kTileRows);
constexpr int64_t kKeyRowBytes = kPageTokens * 4;  // a pair of dimensions of a page's tokens

void configure(int32_t rows) {
  static constexpr TileConfig kConfigs[] = {{1, 2},  {2, 2},  {3, 2},  {4, 2},  {5, 2},  {6, 2},
                                            {7, 2},  {8, 2},  {9, 2},  {10, 2}, {11, 2}, {12, 2},
                                            {13, 2}, {14, 2}, {15, 2}, {16, 2}};
  _tile_loadconfig(&kConfigs[rows - 1]);
}

// One tile of queries of an item.
struct QueryTile {
  alignas(64) uint16_t q[kHeadDimMax / kBlock][kTileRows][kBlock];  // scaled, bf16
  int32_t rows;
  int32_t positions[kTileRows];  // of the rows
};
using TileSoftmax = Softmax<static_cast<int32_t>(kTileRows)>;

// The pages of a block of positions.
struct BlockPages {
  const std::byte* keys[kBlockPages];
  const std::byte* values[kBlockPages];
};

// Brings 2 KiB of the block that comes next to L1 while a product of 2 KiB of this one runs.
template <int kAhead>
inline void prefetch_lines(const std::byte* at) {
  if constexpr (kAhead == 0) return;
#pragma GCC unroll 32
  for (int line = 0; line < 32; ++line)
    _mm_prefetch(reinterpret_cast<const char*>(at + line * 64), _MM_HINT_T0);
}

const float* input_of(const AttentionArgs& args, const Item& item, int32_t index) {
  const int32_t group = args.heads / args.kv.kv_heads, query = item.first + index;
  const int64_t row = item.span->first_row + query / group;
  return args.q + (row * args.heads + item.kv_head * group + query % group) * args.kv.head_dim;
}

// The keys and values of a page as bf16, widened from int8.
struct WidePage {
  alignas(64) uint16_t keys[kPageTokens * kHeadDimMax];    // (head_dim / 2, kPageTokens, 2)
  alignas(64) uint16_t values[kPageTokens * kHeadDimMax];  // (kPageTokens / 2, head_dim, 2)
};

// 32 codes, times a scale each, as bf16.
inline void widen(const std::byte* codes, __m512 low_scales, __m512 high_scales, uint16_t* out) {
  const auto* from = reinterpret_cast<const __m128i*>(codes);
  const __m512 low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from)));
  const __m512 high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from + 1)));
  _mm512_store_si512(out, (__m512i)_mm512_cvtne2ps_pbh(_mm512_mul_ps(high, high_scales),
                                                       _mm512_mul_ps(low, low_scales)));
}

// The first `tokens` tokens; zeros for values behind them, and any keys.
void widen_page(const KvLayer& kv, int32_t page, int32_t head, int32_t tokens, WidePage& wide) {
  const std::byte* keys = page_keys(kv, page, head);
  const float* scales = page_key_scales(kv, page, head);
  __m512 of_tokens[4];  // each token's scale twice
  const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  for (int i = 0; i < 4; ++i)
    of_tokens[i] =
        _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_loadu_ps(scales + i * 8)));
  for (int64_t at = 0; at < int64_t{kv.head_dim} * kPageTokens; at += 2 * kPageTokens) {
    widen(keys + at, of_tokens[0], of_tokens[1], wide.keys + at);
    widen(keys + at + kPageTokens, of_tokens[2], of_tokens[3], wide.keys + at + kPageTokens);
  }
  const std::byte* values = page_values(kv, page, head);
  const float* value_scales = page_value_scales(kv, page, head);
  const int64_t row = 2 * int64_t{kv.head_dim};  // two tokens
  for (int32_t t = 0; t < kPageTokens; t += 2) {
    const __m512 first = _mm512_set1_ps(t < tokens ? value_scales[t] : 0.0f);
    const __m512 second = _mm512_set1_ps(t + 1 < tokens ? value_scales[t + 1] : 0.0f);
    const __m512 of_pair = _mm512_mask_blend_ps(0xaaaa, first, second);
    const int64_t begin = t / 2 * row;
    for (int64_t at = begin; at < begin + row; at += 32)
      widen(values + at, of_pair, of_pair, wide.values + at);
  }
}

void start_tile(const AttentionArgs& args, const Item& item, int32_t first, QueryTile& tile) {
  const int32_t group = args.heads / args.kv.kv_heads, left = item.queries - first;
  tile.rows = left < kTileRows ? left : static_cast<int32_t>(kTileRows);
  const __m512 scale = _mm512_set1_ps(args.scale);
  for (int32_t r = 0; r < tile.rows; ++r) {
    const float* q = input_of(args, item, first + r);
    for (int32_t d = 0; d < args.kv.head_dim; d += kBlock) {
      const __m512 low = _mm512_mul_ps(_mm512_loadu_ps(q + d), scale);
      const __m512 high = _mm512_mul_ps(_mm512_loadu_ps(q + d + 16), scale);
      _mm512_store_si512(tile.q[d / kBlock][r], (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
    tile.positions[r] = item.span->first_position + (item.first + first + r) / group;
  }
}

// scores (rows, kBlockTokens) of the block's first kPages pages.
template <int kPages, int kAhead>
inline void multiply_keys(const QueryTile& tile, const BlockPages& pages, const BlockPages& next,
                          int32_t head_dim, float (*scores)[kBlockTokens]) {
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (kPages == 2) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int32_t d = 0; d < head_dim / kBlock; ++d) {
    const int64_t at = d * kTileRows * kKeyRowBytes;
    _tile_loadd(4, tile.q[d], kRowBytes);
    _tile_loadd(6, pages.keys[0] + at, kKeyRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, pages.keys[0] + at + 64, kKeyRowBytes);
    _tile_dpbf16ps(1, 4, 7);
    prefetch_lines<kAhead>(next.keys[0] + at);
    if constexpr (kPages == 2) {
      _tile_loadd(6, pages.keys[1] + at, kKeyRowBytes);
      _tile_dpbf16ps(2, 4, 6);
      _tile_loadd(7, pages.keys[1] + at + 64, kKeyRowBytes);
      _tile_dpbf16ps(3, 4, 7);
    }
    prefetch_lines<kAhead>(next.keys[1] + at);
  }
  constexpr int64_t kStride = kBlockTokens * 4;
  _tile_stored(0, scores[0], kStride);
  _tile_stored(1, scores[0] + 16, kStride);
  if constexpr (kPages == 2) {
    _tile_stored(2, scores[0] + 32, kStride);
    _tile_stored(3, scores[0] + 48, kStride);
  }
}

using Weights = uint16_t[kBlockPages][kTileRows][kPageTokens];

// 32 columns of the sums += weights · values.
template <int kPages, int kAhead>
inline void multiply_values(const Weights& weights, const BlockPages& pages, const BlockPages& next,
                            int32_t head_dim, float* sums) {
  const int64_t stride = head_dim * 4;
  for (int64_t column = 0; column < stride; column += 2 * kRowBytes) {
    std::byte* at = reinterpret_cast<std::byte*>(sums) + column;
    _tile_loadd(0, at, stride);
    _tile_loadd(1, at + kRowBytes, stride);
    _tile_loadd(4, weights[0], kRowBytes);
    _tile_loadd(6, pages.values[0] + column, stride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, pages.values[0] + column + kRowBytes, stride);
    _tile_dpbf16ps(1, 4, 7);
    prefetch_lines<kAhead>(next.values[0] + column * 16);
    if constexpr (kPages == 2) {
      _tile_loadd(5, weights[1], kRowBytes);
      _tile_loadd(6, pages.values[1] + column, stride);
      _tile_dpbf16ps(0, 5, 6);
      _tile_loadd(7, pages.values[1] + column + kRowBytes, stride);
      _tile_dpbf16ps(1, 5, 7);
    }
    prefetch_lines<kAhead>(next.values[1] + column * 16);
    _tile_stored(0, at, stride);
    _tile_stored(1, at + kRowBytes, stride);
  }
}

// The tile's queries over `kPages` pages from position `from` on.
template <int kPages, int kAhead>
inline void visit_pages(const BlockPages& pages, const BlockPages& next, int32_t from,
                        int32_t head_dim, const QueryTile& tile, TileSoftmax& state) {
  constexpr int32_t kTokens = kPages * kPageTokens;
  alignas(64) float scores[kTileRows][kBlockTokens];
  alignas(64) Weights weights;
  multiply_keys<kPages, kAhead>(tile, pages, next, head_dim, scores);
  memory_fence();
  for (int32_t r = 0; r < tile.rows; ++r) {
    const float shrink =
        weigh(scores[r], kTokens, tile.positions[r] + 1 - from, state.max[r], state.sums[r]);
    for (int p = 0; p < kPages; ++p) {
      const float* s = scores[r] + p * kPageTokens;
      _mm512_store_si512(weights[p][r],
                         (__m512i)_mm512_cvtne2ps_pbh(_mm512_load_ps(s + 16), _mm512_load_ps(s)));
    }
    if (shrink == 1) continue;
    for (int32_t d = 0; d < head_dim; d += 16) {
      float* at = state.values + r * head_dim + d;
      _mm512_store_ps(at, _mm512_mul_ps(_mm512_load_ps(at), _mm512_set1_ps(shrink)));
    }
  }
  memory_fence();
  multiply_values<kPages, kAhead>(weights, pages, next, head_dim, state.values);
  memory_fence();
}

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

// The tiles of an item and what they have met.
struct ItemTiles {
  QueryTile tiles[kTiles];
  int32_t count = 0;

  ItemTiles(const AttentionArgs& args, const Item& item) {
    for (int32_t first = 0; first < item.queries; first += kTileRows)
      start_tile(args, item, first, tiles[count++]);
  }
};

// The block that a thread with few queries meets after `from`: of the same positions, or the first
// one of the next kv head or sequence.
BlockPages next_block(const AttentionArgs& args, const Item& item, int32_t from, int32_t positions) {
  const SequenceSpan* span = item.span;
  int32_t head = item.kv_head, first = from / kPageTokens + kBlockPages;
  if (first * kPageTokens >= positions) {
    first = 0;
    if (++head == args.kv.kv_heads) {
      head = 0;
      if (++span == args.spans + args.span_count) span = args.spans;
    }
    positions = span->first_position + span->rows;
  }
  const int32_t second = (first + 1) * kPageTokens < positions ? first + 1 : first;
  return {{page_keys(args.kv, span->pages[first], head), page_keys(args.kv, span->pages[second], head)},
          {page_values(args.kv, span->pages[first], head),
           page_values(args.kv, span->pages[second], head)}};
}

template <int kPages>
inline void visit_pages(const BlockPages& pages, const BlockPages* next, int32_t from,
                        int32_t head_dim, const QueryTile& tile, TileSoftmax& state) {
  if (next != nullptr)
    visit_pages<kPages, 1>(pages, *next, from, head_dim, tile, state);
  else
    visit_pages<kPages, 0>(pages, pages, from, head_dim, tile, state);
}

// One segment of the item's positions into `states`.
void visit_segment(const AttentionArgs& args, const Item& item, int32_t segment,
                   const ItemTiles& queries, TileSoftmax* states) {
  const int32_t head_dim = args.kv.head_dim;
  const int32_t positions = last_position(item, args.heads / args.kv.kv_heads) + 1;
  const int32_t begin = segment * kSegmentTokens;
  const int32_t end = begin + kSegmentTokens < positions ? begin + kSegmentTokens : positions;
  alignas(64) std::byte last_values[kPageTokens * kHeadDimMax * 2];
  WidePage wide[kBlockPages];
  for (int32_t t = 0; t < queries.count; ++t) reset(states[t], queries.tiles[t].rows, head_dim);
  int32_t configured = 0;
  for (int32_t from = begin; from < end; from += kBlockTokens) {
    BlockPages pages;
    for (int32_t p = 0; p < kBlockPages && from + p * kPageTokens < end; ++p) {
      const int32_t page = item.span->pages[from / kPageTokens + p];
      const int32_t left = positions - from - p * kPageTokens;
      if (args.kv.format == KvFormat::kInt8) {
        widen_page(args.kv, page, item.kv_head, left, wide[p]);
        pages.keys[p] = reinterpret_cast<const std::byte*>(wide[p].keys);
        pages.values[p] = reinterpret_cast<const std::byte*>(wide[p].values);
        continue;
      }
      pages.keys[p] = page_keys(args.kv, page, item.kv_head);
      pages.values[p] = page_values(args.kv, page, item.kv_head);
      if (left >= kPageTokens) continue;
      copy_values(pages.values[p], left, head_dim, last_values);
      pages.values[p] = last_values;
    }
    BlockPages following;
    const bool ahead = queries.count == 1 && args.kv.format == KvFormat::kBf16;
    if (ahead) following = next_block(args, item, from, positions);
    const BlockPages* next = ahead ? &following : nullptr;
    for (int32_t t = 0; t < queries.count; ++t) {
      const QueryTile& tile = queries.tiles[t];
      const int32_t valid = tile.positions[tile.rows - 1] + 1 - from;
      if (valid <= 0) continue;
      if (configured != tile.rows) configure(configured = tile.rows);
      if (valid > kPageTokens)
        visit_pages<2>(pages, next, from, head_dim, tile, states[t]);
      else
        visit_pages<1>(pages, next, from, head_dim, tile, states[t]);
    }
  }
}

void attend_tiles(const AttentionArgs& args, const Item& item) {
  const int32_t head_dim = args.kv.head_dim;
  const int32_t segments = segments_of(item, args.heads / args.kv.kv_heads);
  const ItemTiles queries(args, item);
  TileSoftmax whole[kTiles], later[kTiles];
  const auto for_queries = [&](const auto& work) {
    for (int32_t i = 0; i < item.queries; ++i)
      work(i, i / static_cast<int32_t>(kTileRows), i % static_cast<int32_t>(kTileRows));
  };
  visit_segment(args, item, 0, queries, whole);
  for (int32_t s = 1; s < segments; ++s) {
    visit_segment(args, item, s, queries, later);
    for_queries([&](int32_t, int32_t tile, int32_t row) {
      join(query_of(later[tile], row, head_dim), head_dim, query_of(whole[tile], row, head_dim));
    });
  }
  for_queries([&](int32_t i, int32_t tile, int32_t row) {
    finish_query(query_of(whole[tile], row, head_dim), head_dim, output_of(args, item, i));
  });
}

void attend_tile_part(const AttentionArgs& args, const Item& item, int32_t segment,
                      int64_t first_part) {
  const int32_t head_dim = args.kv.head_dim;
  const ItemTiles queries(args, item);
  TileSoftmax state[kTiles];
  visit_segment(args, item, segment, queries, state);
  for (int32_t i = 0; i < item.queries; ++i)
    copy(query_of(state[0], i, head_dim), head_dim, stored_part(args, first_part + i));
}
static_assert(kAttentionPartQueries <= kTileRows);

}  // namespace

KvFormat kv_format(int32_t head_dim) {
  return head_dim % kBlock == 0 ? KvFormat::kBf16 : KvFormat::kF16;
}

bool reads_kv(KvFormat format, int32_t head_dim) {
  return format == KvFormat::kBf16 ? head_dim % kBlock == 0 : cpu::reads_kv(format, head_dim);
}

void attention(const AttentionArgs& args, int thread, int threads) {
  const bool on_tiles = args.kv.format == KvFormat::kBf16 ||
                        (args.kv.format == KvFormat::kInt8 && args.kv.head_dim % kBlock == 0);
  if (!on_tiles) return avx512::attention(args, thread, threads);
  attention_items(args, thread, threads, attend_tiles, attend_tile_part);
  _tile_release();
}

void attention_join(const AttentionArgs& args, int thread, int threads) {
  join_items(args, thread, threads);
}

}  // namespace sluice::kernels::amx
