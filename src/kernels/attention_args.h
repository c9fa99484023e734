// The ops of attention over pages of keys and values: arguments, see ops.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::kernels {

inline constexpr int32_t kPageTokens = 32;  // tokens of a KV page
inline constexpr int32_t kHeadDimMax = 256;

// kBf16 and kInt8 lie as tiles want them (kv_layout.h). kInt8 has one scale for the keys, and one
// for the values, of a token and kv head: max / 127.
enum class KvFormat : uint8_t { kF16, kF32, kBf16, kInt8 };

// One layer's keys and values: page p lies at base + p · kv_page_bytes(format, heads, head_dim).
// Layout inside a page: kernels/kv_layout.h.
struct KvLayer {
  KvFormat format = KvFormat::kF16;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;  // multiple of 8, at most kHeadDimMax
  std::byte* base = nullptr;
  // Over 0: one row of head_dim values for each token and no kv heads (latent attention, below).
  int32_t latent_rank = 0;
};

// The rows of one sequence in a step: row first_row + i is its token at first_position + i.
// Position p lies in page pages[p / kPageTokens].
struct SequenceSpan {
  int32_t first_row = 0;
  int32_t rows = 0;
  int32_t first_position = 0;
  const int32_t* pages = nullptr;  // at least up to the last row's position
};

// Writes k and v of every row of the spans to their pages. Spans name each row at most once.
struct KvStoreArgs {
  KvLayer kv;
  const SequenceSpan* spans = nullptr;
  int32_t span_count = 0;
  int64_t rows = 0;          // of k and v
  const float* k = nullptr;  // (rows, kv_heads, head_dim)
  const float* v = nullptr;  // (rows, kv_heads, head_dim)
};

// A few queries over many positions may be divided among threads, in segments of this length: each
// leaves a part per query in AttentionArgs::parts.
inline constexpr int32_t kAttentionSegmentTokens = 1024;
inline constexpr int32_t kAttentionPartQueries = 16;  // rows × heads of a group, at most
constexpr int64_t attention_part_floats(int32_t head_dim) {
  return (head_dim + 15) / 16 * 16 + 32;
}

// out[row, h] = softmax(scale · q[row, h] · K^T) · V over positions 0 … the row's own, K and V of
// kv head h / (heads / kv_heads), all of them stored before. Complete after attention() and, in a
// new run, attention_join(), with the same arguments and threads.
struct AttentionArgs {
  KvLayer kv;
  const SequenceSpan* spans = nullptr;
  int32_t span_count = 0;
  int32_t heads = 0;  // multiple of kv_heads
  float scale = 0;
  const float* q = nullptr;  // (rows, heads, head_dim)
  float* out = nullptr;      // (rows, heads, head_dim); rows of no span stay as they are
  float* parts = nullptr;    // (parts_max, attention_part_floats(head_dim)), aligned to 64
  int64_t parts_max = 0;     // what finds no room is not divided
};

// ---- Latent attention over pages ----------------------------------------------------------------

inline constexpr int32_t kLatentRankMax = 1024;
inline constexpr int32_t kLatentRopeMax = 256;

// Multi-head latent attention in its absorbed form (DeepSeek-AI 2024, arXiv 2405.04434, §2.1): all
// heads share one key a position, its latent vector and behind it the dimensions that turn; the
// latent vector is the value too. A KvLayer with latent_rank > 0 holds it.

// Writes the rows of every span to their pages.
struct LatentStoreArgs {
  KvLayer kv;
  const SequenceSpan* spans = nullptr;
  int32_t span_count = 0;
  int64_t rows = 0;
  const float* latents = nullptr;  // (rows, latent_rank)
  const float* turned = nullptr;   // (rows, head_dim - latent_rank)
};

// out[h, row] = Σ_p softmax(scale · (q_latent[h, row] · latent[p] + q_turned[row, h] · turned[p]))
// · latent[p] over positions 0 … the row's own, all of them stored before.
struct LatentAttentionArgs {
  KvLayer kv;
  const SequenceSpan* spans = nullptr;
  int32_t span_count = 0;
  int64_t rows = 0;
  int32_t heads = 0;
  float scale = 0;
  const float* q_latent = nullptr;  // (heads, rows, latent_rank)
  const float* q_turned = nullptr;  // (rows, heads, head_dim - latent_rank)
  float* out = nullptr;             // (heads, rows, latent_rank)
};

}  // namespace sluice::kernels
