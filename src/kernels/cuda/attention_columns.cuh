// Queries of decode steps as columns of products on the tensor cores; QueryRows of
// attention_tile.cuh has those of prompts as rows.
#pragma once

#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/tensor_copy.cuh"

namespace sluice::kernels::cuda {

// Rows and columns of eight-by-eight values change places within a warp.
__device__ __forceinline__ uint32_t turned_over(uint32_t pair) {
  uint32_t over;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(over) : "r"(pair));
  return over;
}

// Where the chunk of 16 bytes 2 pair + second stands in a warp's 16 tokens of keys or values. They
// are tiles of 64 columns as tensor_copy.cuh copies them, one behind the other, and begin on a
// multiple of 1,024 bytes.
__device__ __forceinline__ int unit_offset(int token, int pair, int second) {
  return pair / 4 * (16 * kTileRowBytes) + token * kTileRowBytes +
         ((pair % 4 * 32) ^ ((second ^ (token & 7)) * 16));
}
__device__ __forceinline__ void store_shared(uint32_t at, const uint4& v) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(v.x), "r"(v.y), "r"(v.z),
               "r"(v.w)
               : "memory");
}

// Eight queries in a warp's registers, as columns: thread t has of each product the columns
// 2 (t % 4) and one more, at rows t / 4 and t / 4 + 8, which are tokens in scores and dimensions in
// sums.
template <int kDim>
struct QueryColumns {
  uint32_t q[kDim / 16][2];
  float out[kDim / 16][4];
  float largest[2];
  float total[2];

  // row: the values (dim) of query lane / 4; zeros where there is none.
  __device__ __forceinline__ void load(const __half* row, bool has, int dim) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = k * 16 + i * 8 + lane % 4 * 2;
        q[k][i] = has && column < dim ? *reinterpret_cast<const uint32_t*>(row + column) : 0;
      }
#pragma unroll
    for (int n = 0; n < kDim / 16; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) out[n][i] = 0;
    largest[0] = largest[1] = -INFINITY;
    total[0] = total[1] = 0;
  }

  // Products with 16 tokens, whose keys stand from this address on.
  __device__ __forceinline__ void score(float (&scores)[4], uint32_t keys_at) const {
    const int lane = threadIdx.x % 32;
    float even[4] = {}, odd[4] = {};  // two, so that fewer products wait for each other
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t keys[4];
      load_matrices(keys, keys_at + unit_offset(lane % 16, k, lane / 16));
      multiply_add(k % 2 == 0 ? even : odd, keys, q[k][0], q[k][1]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[i] = even[i] + odd[i];
  }

  // Scores become weights relative to the largest so far; what was summed before is scaled to it.
  // Tokens stand at `position` and behind; those from `limit` on are not seen.
  __device__ __forceinline__ void softmax(float (&scores)[4], int position, int limit,
                                          float factor) {
    const int token = position + static_cast<int>(threadIdx.x) % 32 / 4;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float &first = scores[i], &second = scores[2 + i];
      first = token < limit ? first * factor : -INFINITY;
      second = token + 8 < limit ? second * factor : -INFINITY;
      float most = fmaxf(first, second);
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2)
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, offset));
      most = fmaxf(most, largest[i]);
      const float base = most == -INFINITY ? 0 : most;
      const float kept = exp2f(largest[i] - base);
      largest[i] = most;
      first = exp2f(first - base);
      second = exp2f(second - base);
      total[i] = total[i] * kept + first + second;  // of this thread's tokens
#pragma unroll
      for (int n = 0; n < kDim / 16; ++n) {
        out[n][i] *= kept;
        out[n][2 + i] *= kept;
      }
    }
  }

  // Values of the same tokens, by the weights that softmax() has made of their scores.
  __device__ __forceinline__ void add_values(const float (&scores)[4], uint32_t values_at) {
    const int lane = threadIdx.x % 32;
    const uint32_t first = turned_over(half_pair(scores[0], scores[1]));
    const uint32_t second = turned_over(half_pair(scores[2], scores[3]));
#pragma unroll
    for (int n = 0; n < kDim / 16; ++n) {
      uint32_t values[4];
      load_matrices_turned(values,
                           values_at + unit_offset(lane / 16 * 8 + lane % 8, n, lane / 8 % 2));
      multiply_add(out[n], values, first, second);
    }
  }

  // The sums of all tokens; before, each thread has those of its own.
  __device__ __forceinline__ void join_totals() {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2)
        total[i] += __shfl_xor_sync(0xffffffffu, total[i], offset);
  }
};

}  // namespace sluice::kernels::cuda
