// What both attention kernels do with a tile of keys and values: 16 query rows of a warp against
// 16-bit keys in shared memory on the tensor cores, with the running softmax of Milakov and
// Gimelshein (2018) as in FlashAttention-2 (Dao 2023).
//
// Shared memory of a tile: keys (kTileTokens, kDim), values the same, f16. A row's chunks of 16
// bytes are permuted by the row's low three bits, so that the eight rows an ldmatrix reads lie in
// different banks. kDim is head_dim rounded up to 64, 128 or 256; what is behind head_dim or the
// last token is zero.
#pragma once

#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ops.cuh"

namespace sluice::kernels::cuda {

inline constexpr int kTileTokens = 64;

template <int kDim>
inline constexpr int kTileBytes = 2 * kTileTokens* kDim * 2;

template <int kDim>
__device__ __forceinline__ int tile_offset(int token, int chunk) {
  return token * kDim * 2 + ((chunk ^ (token & 7)) * 16);
}

// Where a sequence's keys of one kv head are.
struct KeySource {
  const std::byte* base = nullptr;
  const int32_t* pages = nullptr;
  int kv_heads = 0;
  int head = 0;
  int dim = 0;
  int tokens = 0;  // that there are
};
__device__ __forceinline__ KeySource key_source(const DeviceAttentionArgs& args, int32_t row,
                                                int head, int tokens) {
  return {args.kv.base,     args.rows.pages + args.rows.tables[row],
          args.kv.kv_heads, head,
          args.kv.head_dim, tokens};
}

// Starts the copy of tokens [first, first + kTileTokens) to shared memory, by all threads.
template <int kDim, int kThreads>
__device__ __forceinline__ void start_tile(const KeySource& source, int first, uint32_t shared) {
  constexpr int kChunks = kDim / 8;
  const int64_t side = int64_t{source.kv_heads} * kPageTokens * source.dim;
  for (int i = threadIdx.x; i < kTileTokens * kChunks; i += kThreads) {
    const int token = i / kChunks, chunk = i % kChunks;
    const int position = first + token;
    const bool has = position < source.tokens && chunk * 8 < source.dim;
    const int64_t page = has ? source.pages[position / kPageTokens] : 0;
    const int64_t at = page * 2 * side +
                       (int64_t{source.head} * kPageTokens + position % kPageTokens) * source.dim +
                       chunk * 8;
    const auto* key = reinterpret_cast<const __half*>(source.base) + (has ? at : 0);
    const int to = tile_offset<kDim>(token, chunk);
    copy_16(shared + to, key, has);
    copy_16(shared + kTileTokens * kDim * 2 + to, has ? key + side : key, has);
  }
}

__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at));
}
__device__ __forceinline__ void load_matrices_turned(uint32_t (&r)[4], uint32_t at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at));
}
// d (16, 8) += a (16, 16) · b (16, 8), f16 in, float out.
__device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ uint32_t half_pair(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// 16 query rows in a warp's registers. Thread t holds of each product the rows t / 4 and t / 4 + 8
// and the columns 2 (t % 4), 2 (t % 4) + 1 of every eight.
// kValues: dimensions of a value, padded as kDim.
template <int kDim, int kValues = kDim>
struct QueryRows {
  uint32_t q[kDim / 16][4];
  float out[kValues / 8][4];
  float largest[2];
  float total[2];

  // row_at(i): row i's values (dim), or null where there is none.
  template <typename RowAt>
  __device__ __forceinline__ void load(const RowAt& row_at, int dim) {
    const int lane = threadIdx.x % 32;
    const __half* rows[2] = {row_at(lane / 4), row_at(lane / 4 + 8)};
    fill([&](int i, int column) -> uint32_t {
      const __half* row = rows[i / 8];
      return row != nullptr && column < dim ? *reinterpret_cast<const uint32_t*>(row + column) : 0;
    });
  }
  // pair_at(i, column): row i's values `column` and the one behind it, f16.
  template <typename PairAt>
  __device__ __forceinline__ void fill(const PairAt& pair_at) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        q[k][i] = pair_at(lane / 4 + i % 2 * 8, k * 16 + i / 2 * 8 + lane % 4 * 2);
#pragma unroll
    for (int n = 0; n < kValues / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) out[n][i] = 0;
    largest[0] = largest[1] = -INFINITY;
    total[0] = total[1] = 0;
  }

  // Tokens [first, first + kTokens) of the tile, which stand at positions from `position` on; row i
  // sees those below limits[i]. factor: scale · log2 e.
  template <int kTokens>
  __device__ __forceinline__ void attend(uint32_t tile, int first, int position,
                                         const int (&limits)[2], float factor) {
    float scores[kTokens / 8][4];
    score<kTokens>(scores, tile, first);
    softmax<kTokens / 8>(scores, position, limits, factor);
    add_values<kTokens>(scores, tile + kTileTokens * kDim * 2, first);
  }

  // Products with tokens [first, first + kTokens) of the keys from this address on.
  template <int kTokens>
  __device__ __forceinline__ void score(float (&scores)[kTokens / 8][4], uint32_t keys_at,
                                        int first) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < kTokens / 8; n += 2) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[n][i] = scores[n + 1][i] = 0;
#pragma unroll
      for (int k = 0; k < kDim / 16; ++k) {
        uint32_t keys[4];
        const int token = first + n * 8 + lane / 16 * 8 + lane % 8;
        load_matrices(keys, keys_at + tile_offset<kDim>(token, k * 2 + lane / 8 % 2));
        multiply_add(scores[n], q[k], keys[0], keys[1]);
        multiply_add(scores[n + 1], q[k], keys[2], keys[3]);
      }
    }
  }

  // Values of the same tokens, by the weights that softmax() has made of their scores.
  template <int kTokens>
  __device__ __forceinline__ void add_values(const float (&scores)[kTokens / 8][4],
                                             uint32_t values_at, int first) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < kTokens / 8; n += 2) {
      const uint32_t weights[4] = {half_pair(scores[n][0], scores[n][1]),
                                   half_pair(scores[n][2], scores[n][3]),
                                   half_pair(scores[n + 1][0], scores[n + 1][1]),
                                   half_pair(scores[n + 1][2], scores[n + 1][3])};
#pragma unroll
      for (int d = 0; d < kValues / 8; d += 2) {
        uint32_t values[4];
        const int token = first + n * 8 + lane / 8 % 2 * 8 + lane % 8;
        load_matrices_turned(values, values_at + tile_offset<kValues>(token, d + lane / 16));
        multiply_add(out[d], weights, values[0], values[1]);
        multiply_add(out[d + 1], weights, values[2], values[3]);
      }
    }
  }

  // Scores become weights relative to the largest so far; what was summed before is scaled to it.
  template <int kColumns>
  __device__ __forceinline__ void softmax(float (&scores)[kColumns][4], int position,
                                          const int (&limits)[2], float factor) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = largest[half];
#pragma unroll
      for (int n = 0; n < kColumns; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& score = scores[n][half * 2 + i];
          const bool seen = position + n * 8 + lane % 4 * 2 + i < limits[half];
          score = seen ? score * factor : -INFINITY;
          most = fmaxf(most, score);
        }
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
      const float base = most == -INFINITY ? 0 : most;
      const float kept = exp2f(largest[half] - base);
      largest[half] = most;
      float sum = 0;
#pragma unroll
      for (int n = 0; n < kColumns; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& score = scores[n][half * 2 + i];
          score = exp2f(score - base);
          sum += score;
        }
      total[half] = total[half] * kept + sum;  // of this thread's columns
#pragma unroll
      for (int n = 0; n < kValues / 8; ++n) {
        out[n][half * 2] *= kept;
        out[n][half * 2 + 1] *= kept;
      }
    }
  }

  // The sums of all columns; before, each thread has those of its own.
  __device__ __forceinline__ void join_totals() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      total[half] += __shfl_xor_sync(0xffffffffu, total[half], 1);
      total[half] += __shfl_xor_sync(0xffffffffu, total[half], 2);
    }
  }
};

inline constexpr float kLog2E = 1.4426950408889634f;

}  // namespace sluice::kernels::cuda
