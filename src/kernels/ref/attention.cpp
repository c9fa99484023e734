// Keys and values in pages, and attention over them.
#include <algorithm>
#include <array>

#include "core/math.h"
#include "core/thread_pool.h"
#include "kernels/kv_int8.h"
#include "kernels/kv_layout.h"
#include "kernels/ref/kv_element.h"
#include "kernels/ref/ref.h"
#include "kernels/ref/running_softmax.h"

namespace sluice::kernels::ref {
namespace {

// Codes and their scale.
void store_int8(const KvStoreArgs& args, int32_t page, int64_t token, int32_t head, int64_t at) {
  const KvLayer& kv = args.kv;
  std::array<int8_t, kHeadDimMax> codes;
  page_key_scales(kv, page, head)[token] = int8_codes(args.k + at, kv.head_dim, codes.data());
  for (int32_t d = 0; d < kv.head_dim; ++d)
    page_keys(kv, page, head)[kv_key_at(kv, d, token)] =
        static_cast<std::byte>(codes[static_cast<size_t>(d)]);
  page_value_scales(kv, page, head)[token] = int8_codes(args.v + at, kv.head_dim, codes.data());
  for (int32_t d = 0; d < kv.head_dim; ++d)
    page_values(kv, page, head)[kv_value_at(kv, token, d)] =
        static_cast<std::byte>(codes[static_cast<size_t>(d)]);
}

void store_row(const KvStoreArgs& args, const SequenceSpan& span, int64_t row) {
  const KvLayer& kv = args.kv;
  const int64_t position = span.first_position + (row - span.first_row);
  const int32_t page = span.pages[position / kPageTokens];
  const int64_t token = position % kPageTokens;
  for (int32_t h = 0; h < kv.kv_heads; ++h) {
    const int64_t at = (row * kv.kv_heads + h) * kv.head_dim;
    if (kv.format == KvFormat::kInt8) {
      store_int8(args, page, token, h, at);
      continue;
    }
    for (int32_t d = 0; d < kv.head_dim; ++d) {
      store_element(kv.format, page_keys(kv, page, h), kv_key_at(kv, d, token), args.k[at + d]);
      store_element(kv.format, page_values(kv, page, h), kv_value_at(kv, token, d), args.v[at + d]);
    }
  }
}

// Keys (positions, head_dim, read across) and values of one kv head, `count` positions, as floats.
struct HeadCache {
  std::array<float, kPageTokens * kHeadDimMax> keys;    // (head_dim, kPageTokens)
  std::array<float, kPageTokens * kHeadDimMax> values;  // (kPageTokens, head_dim)

  void load(const KvLayer& kv, int32_t page, int32_t head) {
    const bool scaled = kv.format == KvFormat::kInt8;
    for (int64_t t = 0; t < kPageTokens; ++t) {
      const float key_scale = scaled ? page_key_scales(kv, page, head)[t] : 1.0f;
      const float value_scale = scaled ? page_value_scales(kv, page, head)[t] : 1.0f;
      for (int64_t d = 0; d < kv.head_dim; ++d) {
        keys[static_cast<size_t>(d * kPageTokens + t)] =
            key_scale * load_element(kv.format, page_keys(kv, page, head), kv_key_at(kv, d, t));
        values[static_cast<size_t>(t * kv.head_dim + d)] =
            value_scale *
            load_element(kv.format, page_values(kv, page, head), kv_value_at(kv, t, d));
      }
    }
  }
};

using Softmax = RunningSoftmax<kHeadDimMax>;

// One query over the first `count` tokens of a page.
void visit(const HeadCache& cache, const float* q, int32_t head_dim, float scale, int32_t count,
           Softmax& state) {
  std::array<float, kPageTokens> scores{};
  for (int32_t d = 0; d < head_dim; ++d)
    for (size_t t = 0; t < kPageTokens; ++t)
      scores[t] += q[d] * cache.keys[static_cast<size_t>(d) * kPageTokens + t];
  for (int32_t t = 0; t < count; ++t) {
    const double score = double{scores[static_cast<size_t>(t)]} * double{scale};
    state.add(score, cache.values.data() + int64_t{t} * head_dim, head_dim);
  }
}

// All rows of a span for one kv head, kRowBlock rows at a time, so that a page is read once for
// these rows and the group's heads.
void attend(const AttentionArgs& args, const SequenceSpan& span, int32_t kv_head, int32_t first,
            int32_t rows) {
  const KvLayer& kv = args.kv;
  const int32_t group = args.heads / kv.kv_heads;
  constexpr int32_t kQueriesMax = 64;
  static_assert(sizeof(Softmax) * kQueriesMax < 256 << 10);
  for (int32_t part = 0; part < rows * group; part += kQueriesMax) {
    const int32_t queries = std::min(kQueriesMax, rows * group - part);
    std::array<Softmax, kQueriesMax> states;
    const auto position_of = [&](int32_t i) {
      return span.first_position + first + (part + i) / group;
    };
    const auto offset_of = [&](int32_t i) {
      const int64_t row = span.first_row + first + (part + i) / group;
      return (row * args.heads + kv_head * group + (part + i) % group) * kv.head_dim;
    };
    const int32_t last = position_of(queries - 1);
    HeadCache cache;
    for (int32_t from = 0; from <= last; from += kPageTokens) {
      cache.load(kv, span.pages[from / kPageTokens], kv_head);
      for (int32_t i = 0; i < queries; ++i) {
        const int32_t count = std::min(kPageTokens, position_of(i) + 1 - from);
        if (count > 0)
          visit(cache, args.q + offset_of(i), kv.head_dim, args.scale, count,
                states[static_cast<size_t>(i)]);
      }
    }
    for (int32_t i = 0; i < queries; ++i)
      states[static_cast<size_t>(i)].finish(args.out + offset_of(i), kv.head_dim);
  }
}

}  // namespace

void kv_store(const KvStoreArgs& args, int thread, int threads) {
  const core::Range rows = core::split(args.rows, 1, thread, threads);
  for (int32_t s = 0; s < args.span_count; ++s) {
    const SequenceSpan& span = args.spans[s];
    const int64_t begin = std::max<int64_t>(rows.begin, span.first_row);
    const int64_t end = std::min<int64_t>(rows.end, span.first_row + span.rows);
    for (int64_t row = begin; row < end; ++row) store_row(args, span, row);
  }
}

// Work items of kRows rows of one span and one kv head, dealt in turn.
void attention(const AttentionArgs& args, int thread, int threads) {
  constexpr int32_t kRows = 16;
  int64_t item = 0;
  for (int32_t s = 0; s < args.span_count; ++s)
    for (int32_t first = 0; first < args.spans[s].rows; first += kRows)
      for (int32_t h = 0; h < args.kv.kv_heads; ++h)
        if (item++ % threads == thread)
          attend(args, args.spans[s], h, first, std::min(kRows, args.spans[s].rows - first));
}

// Nothing is divided.
void attention_join(const AttentionArgs&, int, int) {}

}  // namespace sluice::kernels::ref
