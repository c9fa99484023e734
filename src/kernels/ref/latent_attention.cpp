// Latent rows in pages, and absorbed attention over them.
#include <algorithm>
#include <array>

#include "core/math.h"
#include "core/thread_pool.h"
#include "kernels/kv_layout.h"
#include "kernels/ref/kv_element.h"
#include "kernels/ref/ref.h"
#include "kernels/ref/running_softmax.h"

namespace sluice::kernels::ref {
namespace {

constexpr int32_t kRowMax = kLatentRankMax + kLatentRopeMax;

// The rows of one page as floats.
struct LatentPage {
  std::array<float, kPageTokens * kRowMax> rows;  // (tokens, head_dim)

  void load(const KvLayer& kv, int32_t page, int32_t tokens) {
    const std::byte* from = latent_page(kv, page);
    for (int64_t i = 0; i < int64_t{tokens} * kv.head_dim; ++i)
      rows[static_cast<size_t>(i)] = load_element(kv.format, from, i);
  }
};

using Softmax = RunningSoftmax<kLatentRankMax>;

double dot(const float* a, const float* b, int32_t count) {
  double sum = 0;
  for (int32_t i = 0; i < count; ++i) sum += double{a[i]} * double{b[i]};
  return sum;
}

struct Query {
  const float* latent = nullptr;
  const float* turned = nullptr;
};

void visit(const LatentAttentionArgs& args, const LatentPage& page, const Query& q, int32_t count,
           Softmax& state) {
  const int32_t rank = args.kv.latent_rank;
  for (int32_t t = 0; t < count; ++t) {
    const float* row = page.rows.data() + int64_t{t} * args.kv.head_dim;
    const double score =
        (dot(q.latent, row, rank) + dot(q.turned, row + rank, args.kv.head_dim - rank)) *
        double{args.scale};
    state.add(score, row, rank);
  }
}

// All heads of one row.
void attend(const LatentAttentionArgs& args, const SequenceSpan& span, int32_t in_span) {
  const KvLayer& kv = args.kv;
  const int32_t positions = span.first_position + in_span + 1;
  const int64_t row = span.first_row + in_span;
  for (int32_t h = 0; h < args.heads; ++h) {
    const int64_t at = (h * args.rows + row) * kv.latent_rank;
    const Query q{args.q_latent + at,
                  args.q_turned + (row * args.heads + h) * (kv.head_dim - kv.latent_rank)};
    Softmax state;
    LatentPage page;
    for (int32_t from = 0; from < positions; from += kPageTokens) {
      const int32_t count = std::min(kPageTokens, positions - from);
      page.load(kv, span.pages[from / kPageTokens], count);
      visit(args, page, q, count, state);
    }
    state.finish(args.out + at, kv.latent_rank);
  }
}

}  // namespace

void latent_store(const LatentStoreArgs& args, int thread, int threads) {
  const KvLayer& kv = args.kv;
  const int32_t turned = kv.head_dim - kv.latent_rank;
  const core::Range rows = core::split(args.rows, 1, thread, threads);
  for (int32_t s = 0; s < args.span_count; ++s) {
    const SequenceSpan& span = args.spans[s];
    const int64_t end = std::min<int64_t>(rows.end, span.first_row + span.rows);
    for (int64_t row = std::max<int64_t>(rows.begin, span.first_row); row < end; ++row) {
      const int64_t position = span.first_position + (row - span.first_row);
      std::byte* out = latent_page(kv, span.pages[position / kPageTokens]) +
                       position % kPageTokens * latent_row_bytes(kv);
      for (int32_t d = 0; d < kv.latent_rank; ++d)
        store_element(kv.format, out, d, args.latents[row * kv.latent_rank + d]);
      for (int32_t d = 0; d < turned; ++d)
        store_element(kv.format, out, kv.latent_rank + d, args.turned[row * turned + d]);
    }
  }
}

// Rows are dealt in turn.
void latent_attention(const LatentAttentionArgs& args, int thread, int threads) {
  int64_t item = 0;
  for (int32_t s = 0; s < args.span_count; ++s)
    for (int32_t row = 0; row < args.spans[s].rows; ++row)
      if (item++ % threads == thread) attend(args, args.spans[s], row);
}

}  // namespace sluice::kernels::ref
