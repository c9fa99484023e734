// How kernels of this folder are started, and what they do first.
//
// Where the card can (card.h), every kernel is launched as a programmatic dependent of the one
// before it: its blocks may start while that one still runs. So each kernel calls let_next_start(),
// best at once, and wait_for_previous() before it touches anything that ops write; it may read
// weights before, and a step's numbers, which a copy brings. Every block waits, even where it has
// nothing to do: the op after next relies on it. (CUDA programming guide, "Programmatic Dependent
// Launch".)
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/card.h"

// Whether this is compiled for cards of compute capability 9.0 with all they have. What they alone
// have stands behind `if constexpr (kCard...)`, and behind SLUICE_SM90A where other code would not
// compile. Host code, which must not ask, is compiled as one of them.
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define SLUICE_SM90A 1
#define SLUICE_CLUSTER(blocks) __cluster_dims__(blocks, 1, 1)
#else
#define SLUICE_SM90A 0
#define SLUICE_CLUSTER(blocks)
#endif

namespace sluice::kernels::cuda {

// Of device code; the host asks card().
#ifdef __CUDA_ARCH__
#if __CUDA_ARCH__ < 800 || (__CUDA_ARCH__ == 900 && !SLUICE_SM90A)
#error "no code for cards before 8.0; for 9.0: sm_90a"
#endif
inline constexpr Card kCard = card_of(__CUDA_ARCH__ / 10);
#else
inline constexpr Card kCard = card_of(90);
#endif

// A device that fails cannot go on: ends the process with what failed (cuda_device.cpp).
void check(cudaError_t error, const char* what);

constexpr int64_t div_ceil(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

// A multiprocessor's memory is shared memory and first cache. Where kernels want it divided
// otherwise, the next one's blocks cannot come before the last one's have left; loads on their way
// to registers stand in the first cache. What is best for a format was found by trial:
// docs/kernels/cuda.md.
inline constexpr int kNoCarveout = -1;

struct LaunchShape {
  dim3 grid;
  int threads = 0;
  size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
  int carveout = kNoCarveout;  // percent of it that should be shared memory
  int cluster = 1;             // blocks of one; where the kernel does not say so itself
};

template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            const Arguments&... arguments) {
  cudaLaunchAttribute attributes[3] = {};
  unsigned count = 0;
  if (card().starts_early) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (shape.carveout != kNoCarveout) {
    attributes[count].id = cudaLaunchAttributePreferredSharedMemoryCarveout;
    attributes[count++].val.sharedMemCarveout = static_cast<unsigned>(shape.carveout);
  }
  if (shape.cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {static_cast<unsigned>(shape.cluster), 1, 1};
  }
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = shape.stream;
  config.attrs = attributes;
  config.numAttrs = count;
  check(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), name);
}

// Blocks of a kernel that the card can run at the same time.
inline int64_t blocks_at_once(const void* kernel, int threads, size_t shared_bytes) {
  int of_one = 0, processors = 0, card = 0;
  check(cudaGetDevice(&card), "card");
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, card), "processors");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&of_one, kernel, threads, shared_bytes),
        "occupancy");
  return int64_t{of_one} * processors;
}

// More than 48 KiB of shared memory a block must be asked for, what a kernel declares counted.
template <typename Kernel>
void allow_shared(Kernel* kernel, size_t bytes) {
  check(
      static_cast<int64_t>(bytes) <= card().shared_bytes_max ? cudaSuccess : cudaErrorInvalidValue,
      "shared memory that such cards have");
  check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "shared memory of a block");
}

__device__ __forceinline__ void wait_for_previous() {
  if constexpr (kCard.starts_early) asm volatile("griddepcontrol.wait;" ::: "memory");
}
__device__ __forceinline__ void let_next_start() {
  if constexpr (kCard.starts_early) asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// 16 bytes of weights: read once, so they leave the first cache to what is read again.
__device__ __forceinline__ uint4 load_weights(const void* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

// Into the second cache: the line of `at`.
__device__ __forceinline__ void prefetch_line(const void* at) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
}

__device__ __forceinline__ float warp_sum(float value) {
  for (int offset = 16; offset > 0; offset /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

// Of a block of whole warps; every thread gets the sum. `scratch`: 32 floats, shared.
__device__ __forceinline__ float block_sum(float value, float* scratch) {
  value = warp_sum(value);
  const int warps = blockDim.x / 32;
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  const int lane = threadIdx.x % 32;
  return warp_sum(lane < warps ? scratch[lane] : 0);
}

__device__ __forceinline__ float silu_of(float x) {
  return x / (1 + __expf(-x));
}

__device__ __forceinline__ float2 floats_of_bf16(uint32_t pair) {
  return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
}
__device__ __forceinline__ uint32_t bf16_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

}  // namespace sluice::kernels::cuda
