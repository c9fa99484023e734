// Attention over pages and kv_store over `Vector` (avx2/vector.h or avx512/vector.h, included
// before): online softmax (Milakov, Gimelshein 2018; Dao et al. 2022) in float.
//
// A query meets its positions in blocks of kBlockTokens from position 0 on. Per block: scores in
// the order of head_dim, one maximum, one rescaling, then weights and values token by token. That
// order depends on the query's position alone, so prefill, decode and any chunking agree bit for
// bit. Positions beyond the query's own have weight 0 and add nothing.
//
// A work item is up to kQueries queries (rows × heads of one group) of a span and kv head: a block
// of keys and values is converted to float once for all of them, and register tiles of
// Vector::kTileRows queries run over it.
#pragma once

#include "kernels/cpu/generic/exp.h"
#include "kernels/cpu/generic/packed.h"
#include "kernels/kv_layout.h"
#include "kernels/ops.h"

namespace sluice::kernels {
namespace {

constexpr int32_t kBlockPages = 2;
constexpr int32_t kBlockTokens = kBlockPages * kPageTokens;
constexpr int32_t kQueries = 48;
constexpr float kNever = -__builtin_inff();

// Keys and values of one kv head and one block of positions, as floats.
struct HeadBlock {
  alignas(64) float keys[kBlockPages][kHeadDimMax * kPageTokens];  // (head_dim, kPageTokens)
  alignas(64) float values[kBlockTokens * kHeadDimMax];            // (tokens, padded head_dim)
};

// The running softmax of the item's queries.
struct Softmax {
  float max[kQueries];
  Vector::Floats sums[kQueries];                     // of weights, by lane
  alignas(64) float values[kQueries * kHeadDimMax];  // (queries, padded head_dim)
};

struct Item {
  const SequenceSpan* span;
  int32_t kv_head;
  int32_t first;    // query of the span: row · group + head of the group
  int32_t queries;  // at most kQueries
};

constexpr int32_t padded(int32_t head_dim) {
  return (head_dim + Vector::kLanes - 1) / Vector::kLanes * Vector::kLanes;
}

inline void to_floats(KvFormat format, const std::byte* from, int64_t count, float* out) {
  using V = Vector;
  int64_t i = 0;
  if (format == KvFormat::kF32) {
    for (; i + V::kLanes <= count; i += V::kLanes)
      V::store(out + i, V::load(reinterpret_cast<const float*>(from) + i));
    if (i < count)
      V::store(out + i, V::load_first(reinterpret_cast<const float*>(from) + i, count - i));
    return;
  }
  for (; i + V::kLanes <= count; i += V::kLanes) V::store(out + i, V::load_f16(from + i * 2));
  if (i < count) {
    uint16_t rest[V::kLanes] = {};
    __builtin_memcpy(rest, from + i * 2, static_cast<size_t>(count - i) * 2);
    V::store(out + i, V::load_f16(rest));
  }
}

// Positions [from, from + tokens).
inline void load_block(const KvLayer& kv, const Item& item, int32_t from, int32_t tokens,
                       HeadBlock& block) {
  const int32_t stride = padded(kv.head_dim);
  const int64_t row_bytes = kv.head_dim * kv_element_bytes(kv.format);
  for (int32_t p = 0; p * kPageTokens < tokens; ++p) {
    const int32_t page = item.span->pages[from / kPageTokens + p];
    to_floats(kv.format, page_keys(kv, page, item.kv_head), kv_head_elements(kv), block.keys[p]);
    const std::byte* values = page_values(kv, page, item.kv_head);
    const int32_t end = tokens < (p + 1) * kPageTokens ? tokens : (p + 1) * kPageTokens;
    if (stride == kv.head_dim) {
      to_floats(kv.format, values, int64_t{end - p * kPageTokens} * stride,
                block.values + int64_t{p} * kPageTokens * stride);
      continue;
    }
    for (int32_t t = p * kPageTokens; t < end; ++t)
      to_floats(kv.format, values + (t - p * kPageTokens) * row_bytes, kv.head_dim,
                block.values + int64_t{t} * stride);
  }
}

// scores (kCount, kBlockTokens) = scale · q · K^T of the pages that hold `tokens` tokens.
template <int kCount>
inline void score_tile(const HeadBlock& block, const float* const* q, int32_t head_dim, float scale,
                       int32_t tokens, float (*scores)[kBlockTokens]) {
  using V = Vector;
  for (int32_t first = 0; first < tokens; first += 2 * V::kLanes) {
    const float* keys = block.keys[first / kPageTokens] + first % kPageTokens;
    V::Floats sums[kCount][2];
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) sums[i][0] = sums[i][1] = V::zero();
    for (int32_t d = 0; d < head_dim; ++d) {
      const V::Floats k0 = V::load(keys + d * kPageTokens);
      const V::Floats k1 = V::load(keys + d * kPageTokens + V::kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < kCount; ++i) {
        const V::Floats qd = V::set(q[i][d]);
        sums[i][0] = V::fma(k0, qd, sums[i][0]);
        sums[i][1] = V::fma(k1, qd, sums[i][1]);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) {
      V::store(scores[i] + first, V::mul(sums[i][0], V::set(scale)));
      V::store(scores[i] + first + V::kLanes, V::mul(sums[i][1], V::set(scale)));
    }
  }
}

// Scores of one query to weights, 0 from token `valid` on; returns what older sums are scaled with.
inline float weigh(float* scores, int32_t tokens, int32_t valid, float& max,
                   Vector::Floats& weight_sum) {
  using V = Vector;
  if (valid <= 0) {
    for (int32_t t = 0; t < tokens; t += V::kLanes) V::store(scores + t, V::zero());
    return 1;
  }
  V::Floats largest = V::set(max);
  for (int32_t t = 0; t < tokens; t += V::kLanes) {
    const V::Floats s = V::select_first(V::load(scores + t), V::set(kNever), valid - t);
    largest = V::max(largest, s);
  }
  const float new_max = V::max_of(largest);
  float shrink = 1;
  if (new_max != max) {
    alignas(64) float lanes[V::kLanes];
    V::store(lanes, exponential(V::set(max - new_max)));
    shrink = lanes[0];
    weight_sum = V::mul(weight_sum, V::set(shrink));
    max = new_max;
  }
  for (int32_t t = 0; t < tokens; t += V::kLanes) {
    const V::Floats weight = exponential(V::sub(V::load(scores + t), V::set(max)));
    const V::Floats used = V::select_first(weight, V::zero(), valid - t);
    V::store(scores + t, used);
    weight_sum = V::add(weight_sum, used);
  }
  return shrink;
}

// kCount queries' sums of kColumns vectors: out = out · shrink + weights · values.
template <int kCount, int kColumns>
inline void value_tile(const float* values, int32_t stride, const float (*weights)[kBlockTokens],
                       const float* shrink, int32_t tokens, float* out) {
  using V = Vector;
  V::Floats sums[kCount][kColumns];
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i)
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c)
      sums[i][c] = V::mul(V::load(out + i * stride + c * V::kLanes), V::set(shrink[i]));
  for (int32_t t = 0; t < tokens; ++t) {
    V::Floats v[kColumns];
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) v[c] = V::load(values + t * stride + c * V::kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) {
      const V::Floats weight = V::set(weights[i][t]);
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) sums[i][c] = V::fma(v[c], weight, sums[i][c]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i)
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) V::store(out + i * stride + c * V::kLanes, sums[i][c]);
}

// Queries [first, first + kCount) of the item over a block that starts at position `from`.
template <int kCount>
inline void visit_tile(const AttentionArgs& args, const Item& item, const HeadBlock& block,
                       int32_t from, int32_t first, Softmax& state) {
  const int32_t head_dim = args.kv.head_dim, stride = padded(head_dim);
  const int32_t group = args.heads / args.kv.kv_heads;
  const float* q[kCount];
  int32_t valid[kCount];
  for (int i = 0; i < kCount; ++i) {
    const int32_t query = item.first + first + i;
    const int64_t row = item.span->first_row + query / group;
    q[i] = args.q + (row * args.heads + item.kv_head * group + query % group) * head_dim;
    valid[i] = item.span->first_position + query / group + 1 - from;
  }
  const int32_t most = valid[kCount - 1];
  if (most <= 0) return;
  const int32_t tokens = most < kBlockTokens ? most : kBlockTokens;
  alignas(64) float scores[kCount][kBlockTokens];
  float shrink[kCount];
  score_tile<kCount>(block, q, head_dim, args.scale, tokens, scores);
  for (int i = 0; i < kCount; ++i)
    shrink[i] = weigh(scores[i], tokens, valid[i], state.max[first + i], state.sums[first + i]);
  float* out = state.values + int64_t{first} * stride;
  int32_t c = 0;
  for (; c + 4 * Vector::kLanes <= stride; c += 4 * Vector::kLanes)
    value_tile<kCount, 4>(block.values + c, stride, scores, shrink, tokens, out + c);
  for (; c < stride; c += Vector::kLanes)
    value_tile<kCount, 1>(block.values + c, stride, scores, shrink, tokens, out + c);
}

inline void visit_block(const AttentionArgs& args, const Item& item, const HeadBlock& block,
                        int32_t from, Softmax& state) {
  constexpr int kTile = Vector::kTileRows;
  for (int32_t first = 0; first < item.queries; first += kTile) {
    switch (item.queries - first) {
      case 1:
        visit_tile<1>(args, item, block, from, first, state);
        break;
      case 2:
        visit_tile<2>(args, item, block, from, first, state);
        break;
      case 3:
        visit_tile<3>(args, item, block, from, first, state);
        break;
      case 4:
        visit_tile < kTile<4 ? kTile : 4>(args, item, block, from, first, state);
        break;
      case 5:
        visit_tile < kTile<5 ? kTile : 5>(args, item, block, from, first, state);
        break;
      default:
        visit_tile<kTile>(args, item, block, from, first, state);
    }
  }
}

inline int32_t last_position(const Item& item, int32_t group) {
  return item.span->first_position + (item.first + item.queries - 1) / group;
}

inline void attend(const AttentionArgs& args, const Item& item) {
  using V = Vector;
  const int32_t head_dim = args.kv.head_dim, stride = padded(head_dim);
  const int32_t group = args.heads / args.kv.kv_heads;
  const int32_t positions = last_position(item, group) + 1;
  HeadBlock block;
  Softmax state;
  for (int32_t i = 0; i < item.queries; ++i) {
    state.max[i] = kNever;
    state.sums[i] = V::zero();
  }
  for (int32_t i = 0; i < item.queries * stride; i += V::kLanes)
    V::store(state.values + i, V::zero());
  for (int32_t from = 0; from < positions; from += kBlockTokens) {
    const int32_t left = positions - from;
    load_block(args.kv, item, from, left < kBlockTokens ? left : kBlockTokens, block);
    visit_block(args, item, block, from, state);
  }
  for (int32_t i = 0; i < item.queries; ++i) {
    const int32_t query = item.first + i;
    const int64_t row = item.span->first_row + query / group;
    float* out = args.out + (row * args.heads + item.kv_head * group + query % group) * head_dim;
    const V::Floats factor = V::set(1.0f / V::sum_of(state.sums[i]));
    for (int32_t d = 0; d < head_dim; d += V::kLanes) {
      const V::Floats value = V::mul(V::load(state.values + int64_t{i} * stride + d), factor);
      if (d + V::kLanes <= head_dim) {
        V::store(out + d, value);
      } else {
        V::store_first(out + d, value, head_dim - d);
      }
    }
  }
}

template <typename Visit>
inline void for_items(const AttentionArgs& args, const Visit& visit) {
  const int32_t group = args.heads / args.kv.kv_heads;
  for (int32_t s = 0; s < args.span_count; ++s) {
    const int32_t queries = args.spans[s].rows * group;
    for (int32_t head = 0; head < args.kv.kv_heads; ++head)
      for (int32_t first = 0; first < queries; first += kQueries) {
        const int32_t left = queries - first;
        visit(Item{&args.spans[s], head, first, left < kQueries ? left : kQueries});
      }
  }
}

// Roughly the time of an item: every query, and the conversion (as 8 queries), over all positions.
inline int64_t cost_of(const Item& item, int32_t group) {
  return int64_t{item.queries + 8} * (last_position(item, group) + kBlockTokens);
}

// An item belongs to the thread in whose share of the whole cost its middle lies.
inline void attention_items(const AttentionArgs& args, int thread, int threads) {
  const int32_t group = args.heads / args.kv.kv_heads;
  int64_t whole = 0, before = 0;
  for_items(args, [&](const Item& item) { whole += cost_of(item, group); });
  for_items(args, [&](const Item& item) {
    const int64_t cost = cost_of(item, group);
    if ((before + cost / 2) * threads / whole == thread) attend(args, item);
    before += cost;
  });
}

// ---- kv_store
// ------------------------------------------------------------------------------------

inline void store_token(const KvStoreArgs& args, const SequenceSpan& span, int64_t row) {
  using V = Vector;
  const KvLayer& kv = args.kv;
  const int64_t position = span.first_position + (row - span.first_row);
  const int32_t page = span.pages[position / kPageTokens];
  const int64_t token = position % kPageTokens;
  for (int32_t h = 0; h < kv.kv_heads; ++h) {
    const float* k = args.k + (row * kv.kv_heads + h) * kv.head_dim;
    const float* v = args.v + (row * kv.kv_heads + h) * kv.head_dim;
    std::byte* keys = page_keys(kv, page, h);
    std::byte* values =
        page_values(kv, page, h) + token * kv.head_dim * kv_element_bytes(kv.format);
    if (kv.format == KvFormat::kF32) {
      for (int32_t d = 0; d < kv.head_dim; ++d)
        reinterpret_cast<float*>(keys)[d * kPageTokens + token] = k[d];
      __builtin_memcpy(values, v, static_cast<size_t>(kv.head_dim) * 4);
      continue;
    }
    for (int32_t d = 0; d < kv.head_dim; d += V::kLanes) {
      const int32_t left = kv.head_dim - d;
      const int32_t count = left < V::kLanes ? left : V::kLanes;
      uint16_t halves[V::kLanes];
      V::store_f16(halves, V::load_first(k + d, count));
      for (int32_t i = 0; i < count; ++i)
        reinterpret_cast<uint16_t*>(keys)[(d + i) * kPageTokens + token] = halves[i];
      V::store_f16(halves, V::load_first(v + d, count));
      __builtin_memcpy(values + d * 2, halves, static_cast<size_t>(count) * 2);
    }
  }
}

inline void kv_store_rows(const KvStoreArgs& args, int thread, int threads) {
  const Share rows = share_of(args.rows, 1, thread, threads);
  for (int32_t s = 0; s < args.span_count; ++s) {
    const SequenceSpan& span = args.spans[s];
    const int64_t span_end = span.first_row + span.rows;
    const int64_t begin = rows.begin > span.first_row ? rows.begin : span.first_row;
    const int64_t end = rows.end < span_end ? rows.end : span_end;
    for (int64_t row = begin; row < end; ++row) store_token(args, span, row);
  }
}

}  // namespace
}  // namespace sluice::kernels
