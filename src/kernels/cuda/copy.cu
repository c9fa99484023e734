// Small copies, and a clock. Bound by a trip over the link; all loads are on their way together.
#include "kernels/cuda/copy.cuh"
#include "kernels/cuda/launch.cuh"

namespace sluice::kernels::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kLoads = kSmallCopyBytes / 4 / kThreads;

// Lets nobody start before its end: what it brings may be read before wait_for_previous().
__global__ void copy_kernel(uint32_t* to, const uint32_t* from, int words) {
  wait_for_previous();
  uint32_t values[kLoads];
#pragma unroll
  for (int i = 0; i < kLoads; ++i)
    if (const int at = i * kThreads + static_cast<int>(threadIdx.x); at < words)
      values[i] = from[at];
#pragma unroll
  for (int i = 0; i < kLoads; ++i)
    if (const int at = i * kThreads + static_cast<int>(threadIdx.x); at < words) to[at] = values[i];
}

// The next kernel's start is not held up: it waits for this one, which has waited for the last.
__global__ void stamp_kernel(uint64_t* ns) {
  let_next_start();
  wait_for_previous();
  uint64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  *ns = now;
}

}  // namespace

void stamp(uint64_t* pinned_ns, cudaStream_t stream) {
  launch("clock", stamp_kernel, {dim3(1), 1, 0, stream}, pinned_ns);
}

void copy_small(std::byte* to, const std::byte* from, int64_t bytes, cudaStream_t stream) {
  launch("copy", copy_kernel, {dim3(1), kThreads, 0, stream}, reinterpret_cast<uint32_t*>(to),
         reinterpret_cast<const uint32_t*>(from), static_cast<int>(bytes / 4));
}

}  // namespace sluice::kernels::cuda
