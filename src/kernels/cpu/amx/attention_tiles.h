// What attention on tiles shares, whatever keys and values are: the blocks of positions, the way of
// an item through its segments, and what comes next. Internal linkage: only for files compiled for
// AMX, behind generic/attention.inc.
//
// A `Kernel` has
//   kTileQueries                    queries of a tile
//   Tile                            they, with `count` and their `positions`
//   Block                           keys and values of two pages, from the pages themselves
//   start(args, item, first, tile)  the item's queries from `first` on
//   configure(queries)              tile registers for so many
//   visit<pages, ahead>(visit)      a tile over a block's first pages
#pragma once

#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/generic/attention.inc"

namespace sluice::kernels::amx {
namespace {

// Where the keys and values of a block of positions lie.
struct BlockPages {
  const std::byte* keys[kBlockPages];
  const std::byte* values[kBlockPages];
  const float* key_scales[kBlockPages];  // of kInt8
  const float* value_scales[kBlockPages];
};

inline BlockPages pages_of(const KvLayer& kv, const SequenceSpan& span, int32_t head, int32_t from,
                           int32_t positions) {
  BlockPages block{};
  for (int32_t p = 0; p < kBlockPages; ++p) {
    const int32_t first = from / kPageTokens;
    const int32_t page = span.pages[from + p * kPageTokens < positions ? first + p : first];
    block.keys[p] = page_keys(kv, page, head);
    block.values[p] = page_values(kv, page, head);
    if (kv.format != KvFormat::kInt8) continue;
    block.key_scales[p] = page_key_scales(kv, page, head);
    block.value_scales[p] = page_value_scales(kv, page, head);
  }
  return block;
}

// What a thread with few queries meets after the block at `from`: the next block, or the first one
// of the next kv head or sequence.
inline BlockPages next_pages(const AttentionArgs& args, const Item& item, int32_t from,
                             int32_t positions) {
  const int32_t next = from + kBlockTokens;
  if (next < positions) return pages_of(args.kv, *item.span, item.kv_head, next, positions);
  if (item.kv_head + 1 < args.kv.kv_heads)
    return pages_of(args.kv, *item.span, item.kv_head + 1, 0, positions);
  const SequenceSpan* span = item.span + 1;
  if (span == args.spans + args.span_count) span = args.spans;
  return pages_of(args.kv, *span, 0, 0, span->first_position + span->rows);
}

// How near the next block is brought: one that leaves no room for this one in L1 only to L2.
enum class Ahead { kNone, kL2, kL1 };
inline Ahead ahead_of(const KvLayer& kv) {
  constexpr int64_t kL1Bytes = 16 << 10;
  return 2 * kBlockPages * kv_head_elements(kv) * kv_element_bytes(kv.format) <= kL1Bytes
             ? Ahead::kL1
             : Ahead::kL2;
}

// Prefetches are spread between the products: in one burst they wait for each other, and the
// products for them.
template <Ahead kAhead, int kLines>
inline void prefetch_lines(const std::byte* at) {
  if constexpr (kAhead == Ahead::kNone) return;
#pragma GCC unroll 32
  for (int line = 0; line < kLines; ++line)
    _mm_prefetch(reinterpret_cast<const char*>(at + line * 64),
                 kAhead == Ahead::kL1 ? _MM_HINT_T0 : _MM_HINT_T1);
}

template <typename Kernel>
using TileSoftmax = Softmax<Kernel::kTileQueries>;

// A tile at a block of positions from `from` on.
template <typename Kernel>
struct Visit {
  const typename Kernel::Block& block;
  Ahead ahead;
  const BlockPages& next;  // to prefetch
  int32_t from;
  int32_t head_dim;
  const typename Kernel::Tile& tile;
  TileSoftmax<Kernel>& state;
};

// The tiles of an item.
template <typename Kernel>
struct ItemTiles {
  static constexpr int32_t kMost = kQueries / Kernel::kTileQueries;
  typename Kernel::Tile tiles[kMost];
  int32_t count = 0;

  ItemTiles(const AttentionArgs& args, const Item& item) {
    for (int32_t first = 0; first < item.queries; first += Kernel::kTileQueries)
      Kernel::start(args, item, first, tiles[count++]);
  }
};

template <int kPages, typename Kernel>
inline void visit_pages(const Visit<Kernel>& v) {
  switch (v.ahead) {
    case Ahead::kNone:
      return Kernel::template visit<kPages, Ahead::kNone>(v);
    case Ahead::kL2:
      return Kernel::template visit<kPages, Ahead::kL2>(v);
    case Ahead::kL1:
      return Kernel::template visit<kPages, Ahead::kL1>(v);
  }
}

// One segment of the item's positions into `states`.
template <typename Kernel>
void visit_segment(const AttentionArgs& args, const Item& item, int32_t segment,
                   const ItemTiles<Kernel>& queries, TileSoftmax<Kernel>* states) {
  const int32_t head_dim = args.kv.head_dim;
  const int32_t positions = last_position(item, args.heads / args.kv.kv_heads) + 1;
  const int32_t begin = segment * kSegmentTokens;
  const int32_t end = begin + kSegmentTokens < positions ? begin + kSegmentTokens : positions;
  for (int32_t t = 0; t < queries.count; ++t) reset(states[t], queries.tiles[t].count, head_dim);
  const Ahead ahead = ahead_of(args.kv);
  int32_t configured = 0;
  typename Kernel::Block block;
  for (int32_t from = begin; from < end; from += kBlockTokens) {
    block.load(args.kv, pages_of(args.kv, *item.span, item.kv_head, from, positions),
               positions - from);
    const bool few = queries.count == 1;
    const BlockPages next = few ? next_pages(args, item, from, positions) : BlockPages{};
    for (int32_t t = 0; t < queries.count; ++t) {
      const auto& tile = queries.tiles[t];
      const int32_t valid = tile.positions[tile.count - 1] + 1 - from;
      if (valid <= 0) continue;
      if (configured != tile.count) Kernel::configure(configured = tile.count);
      const Visit<Kernel> visit{block,    few ? ahead : Ahead::kNone, next, from, head_dim, tile,
                                states[t]};
      if (valid > kPageTokens)
        visit_pages<2>(visit);
      else
        visit_pages<1>(visit);
    }
  }
}

template <typename Kernel>
void attend_tiles(const AttentionArgs& args, const Item& item) {
  constexpr int32_t kMost = ItemTiles<Kernel>::kMost;
  const int32_t head_dim = args.kv.head_dim;
  const int32_t segments = segments_of(item, args.heads / args.kv.kv_heads);
  const ItemTiles<Kernel> queries(args, item);
  TileSoftmax<Kernel> whole[kMost], later[kMost];
  const auto part = [&](TileSoftmax<Kernel>* states, int32_t i) {
    return query_of(states[i / Kernel::kTileQueries], i % Kernel::kTileQueries, head_dim);
  };
  visit_segment(args, item, 0, queries, whole);
  for (int32_t s = 1; s < segments; ++s) {
    visit_segment(args, item, s, queries, later);
    for (int32_t i = 0; i < item.queries; ++i) join(part(later, i), head_dim, part(whole, i));
  }
  for (int32_t i = 0; i < item.queries; ++i)
    finish_query(part(whole, i), head_dim, output_of(args, item, i));
}

template <typename Kernel>
void attend_tile_part(const AttentionArgs& args, const Item& item, int32_t segment,
                      int64_t first_part) {
  static_assert(kAttentionPartQueries % Kernel::kTileQueries == 0);
  const int32_t head_dim = args.kv.head_dim;
  const ItemTiles<Kernel> queries(args, item);
  TileSoftmax<Kernel> states[kAttentionPartQueries / Kernel::kTileQueries];
  visit_segment(args, item, segment, queries, states);
  for (int32_t i = 0; i < item.queries; ++i)
    copy(query_of(states[i / Kernel::kTileQueries], i % Kernel::kTileQueries, head_dim), head_dim,
         stored_part(args, first_part + i));
}

template <typename Kernel>
void attention_on_tiles(const AttentionArgs& args, int thread, int threads) {
  attention_items(args, thread, threads, attend_tiles<Kernel>, attend_tile_part<Kernel>);
  _tile_release();
}

}  // namespace
}  // namespace sluice::kernels::amx
