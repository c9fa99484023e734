// What cards of compute capability 9.0 alone have (card.h, has_tiles) for large products: copies of
// tiles by the tensor memory accelerator, barriers in shared memory that count their bytes, and
// products of a group of four warps with both operands in shared memory (PTX ISA,
// "cp.async.bulk.tensor", "mbarrier", "wgmma").
//
// A tile of 16-bit values lies in shared memory as rows of 64 values, 128 bytes, whose chunks of 16
// bytes are permuted by the row's low three bits; it begins on a multiple of 1,024 bytes.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/launch.cuh"

namespace sluice::kernels::cuda {

inline constexpr int kTileColumns = 64;
inline constexpr int kTileRowBytes = kTileColumns * 2;
inline constexpr int kTileAlignment = 1024;

// ---- Barriers -----------------------------------------------------------------------------------

__device__ __forceinline__ void begin_barrier(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
// Begun barriers are seen by the copies' side; a __syncthreads() for the threads comes after.
__device__ __forceinline__ void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Arrives, and the phase also waits for `bytes` of copies.
__device__ __forceinline__ void arrive_and_expect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
// Until the phase of this parity is over.
__device__ __forceinline__ void wait_barrier(uint32_t barrier, uint32_t parity) {
  uint32_t over = 0;
  while (over == 0)
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n}\n"
        : "=r"(over)
        : "r"(barrier), "r"(parity)
        : "memory");
}

// Of the first kThreads threads of a block, which are whole warps.
template <int kThreads>
__device__ __forceinline__ void meet_threads() {
  asm volatile("bar.sync 1, %0;" ::"n"(kThreads) : "memory");
}

// ---- Copies -------------------------------------------------------------------------------------

// Second cache: what is read once leaves first, what many blocks read stays (createpolicy's codes).
inline constexpr uint64_t kLeavesFirst = 0x12f0000000000000ull;
inline constexpr uint64_t kAsUsual = 0x1000000000000000ull;
inline constexpr uint64_t kStays = 0x14f0000000000000ull;

// The map's box at (row, column); what is outside of the matrix becomes zero. Its whole size is
// counted by the barrier.
__device__ __forceinline__ void copy_tile(uint32_t shared, const CUtensorMap& map, int column,
                                          int row, uint32_t barrier, uint64_t cache) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared),
      "l"(&map), "r"(column), "r"(row), "r"(barrier), "l"(cache)
      : "memory");
}

// ---- Products -----------------------------------------------------------------------------------

// A tile from this address on, for wgmma: swizzled over 128 bytes, eights of rows 1,024 bytes
// apart.
__device__ __forceinline__ uint64_t tile_descriptor(uint32_t shared) {
  return (uint64_t{shared} & 0x3ffff) >> 4 | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 |
         uint64_t{1} << 62;
}
// The descriptor of the values `column` (a multiple of 16) further in each row.
__device__ __forceinline__ uint64_t at_column(uint64_t descriptor, int column) {
  return descriptor + static_cast<uint64_t>(column * 2 / 16);
}
__device__ __forceinline__ void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void end_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// d (64, kColumns) = a (64, 16) · b (kColumns, 16)^T, bf16 in, float out; `adds`: += instead.
// Thread t of the four warps holds of the eight columns j the rows 16 (t / 32) + t % 32 / 4, and 8
// more, at columns 2 (t % 4) and 1 more: d[4 j + {0, 1}], d[4 j + {2, 3}].
template <int kColumns>
__device__ __forceinline__ void multiply_tile(float (&d)[kColumns / 2], uint64_t a, uint64_t b,
                                              bool adds);

#define SLUICE_FOUR(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SLUICE_EIGHT(i) SLUICE_FOUR(i), SLUICE_FOUR(i + 4)
#define SLUICE_MULTIPLY_TILE(columns, registers, ...)                                        \
  template <>                                                                                \
  __device__ __forceinline__ void multiply_tile<columns>(float(&d)[columns / 2], uint64_t a, \
                                                         uint64_t b, bool adds) {            \
    asm volatile(registers:__VA_ARGS__ : "l"(a), "l"(b), "r"(static_cast<int>(adds)));       \
  }
SLUICE_MULTIPLY_TILE(24,
                     "{\n.reg .pred p;\nsetp.ne.b32 p, %14, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n24k16.f32.bf16.bf16 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11"
                     "}, %12, %13, p, 1, 1, 0, 0;\n}\n",
                     SLUICE_EIGHT(0), SLUICE_FOUR(8))
SLUICE_MULTIPLY_TILE(32,
                     "{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
                     "}, %16, %17, p, 1, 1, 0, 0;\n}\n",
                     SLUICE_EIGHT(0), SLUICE_EIGHT(8))
SLUICE_MULTIPLY_TILE(48,
                     "{\n.reg .pred p;\nsetp.ne.b32 p, %26, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n48k16.f32.bf16.bf16 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                     "%16, %17, %18, %19, %20, %21, %22, %23"
                     "}, %24, %25, p, 1, 1, 0, 0;\n}\n",
                     SLUICE_EIGHT(0), SLUICE_EIGHT(8), SLUICE_EIGHT(16))
SLUICE_MULTIPLY_TILE(56,
                     "{\n.reg .pred p;\nsetp.ne.b32 p, %30, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n56k16.f32.bf16.bf16 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                     "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27"
                     "}, %28, %29, p, 1, 1, 0, 0;\n}\n",
                     SLUICE_EIGHT(0), SLUICE_EIGHT(8), SLUICE_EIGHT(16), SLUICE_FOUR(24))
SLUICE_MULTIPLY_TILE(
    64,
    "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
    "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
    "}, %32, %33, p, 1, 1, 0, 0;\n}\n",
    SLUICE_EIGHT(0), SLUICE_EIGHT(8), SLUICE_EIGHT(16), SLUICE_EIGHT(24))
#undef SLUICE_MULTIPLY_TILE
#undef SLUICE_EIGHT
#undef SLUICE_FOUR

// ---- Clusters -----------------------------------------------------------------------------------

__device__ __forceinline__ int cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}
// All threads of the cluster's blocks arrive and await; what they wrote to shared memory before is
// seen after.
__device__ __forceinline__ void arrive_at_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void await_cluster() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
__device__ __forceinline__ void meet_cluster() {
  arrive_at_cluster();
  await_cluster();
}
// The same place in the shared memory of another block of the cluster.
template <typename T>
__device__ __forceinline__ T* of_block(T* here, int rank) {
  uint64_t there;
  asm volatile("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(here), "r"(rank));
  return reinterpret_cast<T*>(there);
}

}  // namespace sluice::kernels::cuda
