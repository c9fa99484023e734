// Weights on their way through a warp's registers: the inner loop of products of few rows
// (narrow.cuh, experts_narrow.cu).
//
// A warp has one unit of work at a time, a row of weights or a part of one, whose chunks its lanes
// read side by side. Two sets of kUnroll chunks of each of kMatrices take turns: while one is used
// the other is on its way. The first two may be asked for before the op before has ended
// (launch.cuh).
//
// A `Work` is a struct with
//   chunks, units, step            chunks of a unit, units of all warps, from a warp's unit to its
//   next weights(m, unit, chunk)        whose load(on) gives chunk number chunk + on of matrix m
//   part(unit, chunk)              whose dot(on, Chunk, sums) adds the product with that chunk
//   finish(unit, sums)             takes the sums of a unit, which every lane has; by whole warps
#pragma once

#include "kernels/cuda/launch.cuh"

namespace sluice::kernels::cuda {

inline constexpr int kNarrowThreads = 512;
inline constexpr int kNarrowWarps = kNarrowThreads / 32;

// Adds the sums of an odd warp to those of the even one before it, which then has both; the two
// come here in step.
template <int kSums>
class PairSums {
 public:
  template <int kMatrices, int kRows>
  __device__ __forceinline__ void join(float (&sums)[kMatrices][kRows]) {
    static_assert(kMatrices * kRows == kSums);
    __shared__ float of_odd[2][kNarrowWarps / 2][kSums];  // two, so that one meeting is enough
    const int warp = threadIdx.x / 32;
    float* slot = of_odd[turn_][warp / 2];
    turn_ ^= 1;
    if (warp % 2 != 0 && threadIdx.x % 32 == 0)
#pragma unroll
      for (int i = 0; i < kSums; ++i) slot[i] = sums[i / kRows][i % kRows];
    asm volatile("bar.sync %0, 64;" ::"r"(1 + warp / 2) : "memory");
#pragma unroll
    for (int i = 0; i < kSums; ++i) sums[i / kRows][i % kRows] += slot[i];
  }

 private:
  int turn_ = 0;
};

// Where a warp is: kUnroll chunks of a unit from chunk `first` on.
struct NarrowCursor {
  int64_t unit = 0;
  int first = 0;
};

template <typename Chunk, int kRows, int kMatrices, int kUnroll>
class NarrowStream {
 public:
  template <typename Work>
  __device__ __forceinline__ explicit NarrowStream(const Work& work)
      : at_{int64_t{blockIdx.x} * kNarrowWarps + threadIdx.x / 32, 0}, next_(after(work, at_)) {
    load(work, at_, even_);
    load(work, next_, odd_);
  }

  template <typename Work>
  __device__ __forceinline__ void run(Work& work) {
    if (at_.unit < work.units)
      while (pass(work, even_) && pass(work, odd_)) {
      }
  }

 private:
  using Set = Chunk[kMatrices][kUnroll];

  template <typename Work>
  static __device__ __forceinline__ NarrowCursor after(const Work& work, const NarrowCursor& at) {
    return at.first + kUnroll * 32 < work.chunks ? NarrowCursor{at.unit, at.first + kUnroll * 32}
                                                 : NarrowCursor{at.unit + work.step, 0};
  }

  template <typename Work>
  static __device__ __forceinline__ void load(const Work& work, const NarrowCursor& at, Set& into) {
    if (at.unit >= work.units) return;
    const int first = at.first + static_cast<int>(threadIdx.x % 32);
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
      const auto weights = work.weights(m, at.unit, first);
      if (at.first + kUnroll * 32 <= work.chunks) {
#pragma unroll
        for (int u = 0; u < kUnroll; ++u) into[m][u] = weights.load(u * 32);
      } else {
#pragma unroll
        for (int u = 0; u < kUnroll; ++u)
          into[m][u] = first + u * 32 < work.chunks ? weights.load(u * 32) : Chunk{};
      }
    }
  }

  // Uses a set and starts to fill it again. False: all is done.
  template <typename Work>
  __device__ __forceinline__ bool pass(Work& work, Set& set) {
    const auto part = work.part(at_.unit, at_.first + static_cast<int>(threadIdx.x % 32));
#pragma unroll
    for (int m = 0; m < kMatrices; ++m)
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) part.dot(u * 32, set[m][u], sums_[m]);
    const int64_t unit = at_.unit;
    at_ = next_;
    next_ = after(work, at_);
    load(work, next_, set);
    if (unit != at_.unit) finish(work, unit);
    return at_.unit < work.units;
  }

  template <typename Work>
  __device__ __forceinline__ void finish(Work& work, int64_t unit) {
#pragma unroll
    for (int m = 0; m < kMatrices; ++m)
#pragma unroll
      for (int r = 0; r < kRows; ++r) sums_[m][r] = warp_sum(sums_[m][r]);
    work.finish(unit, sums_);
#pragma unroll
    for (int m = 0; m < kMatrices; ++m)
#pragma unroll
      for (int r = 0; r < kRows; ++r) sums_[m][r] = 0;
  }

  NarrowCursor at_, next_;
  Set even_ = {}, odd_ = {};
  float sums_[kMatrices][kRows] = {};
};

}  // namespace sluice::kernels::cuda
