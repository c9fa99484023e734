// The device's side of kernels/device_handover.h. What bounds it are trips over the link: rows and
// counter are written without waiting, a poll of the answer and the read behind it take about 1.5
// µs each. Reference: kernels/ref/ref_device.cpp.
//
// Order: every thread's writes are fenced before the block meets, and only then is the counter
// raised (release); who sees the answer's counter (acquire) reads past the first cache.
#include "kernels/cuda/handover.cuh"
#include "kernels/cuda/launch.cuh"

namespace sluice::kernels::cuda {
namespace {

constexpr int kPostThreads = 1024;
constexpr int kCollectThreads = 256;
constexpr int64_t kCollectBlocksMax = 64;

__device__ __forceinline__ uint32_t acquire_from_host(const void* counter) {
  uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(counter) : "memory");
  return value;
}
__device__ __forceinline__ void release_to_host(void* counter, uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(counter), "r"(value) : "memory");
}
__device__ __forceinline__ int64_t clock_ns() {
  int64_t ns;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns));
  return ns;
}

// One block: the rows of a few sequences are a few kilobytes.
__global__ void __launch_bounds__(kPostThreads)
    post_kernel(const __grid_constant__ DevicePostArgs args) {
  wait_for_previous();
  let_next_start();
  const auto* x = reinterpret_cast<const uint4*>(args.x);
  auto* host_x = reinterpret_cast<uint4*>(args.host_x);
  for (int64_t i = threadIdx.x; i < args.rows * args.inputs / 8; i += kPostThreads)
    host_x[i] = x[i];
  for (int64_t i = threadIdx.x; i < args.rows * args.used; i += kPostThreads) {
    args.host_ids[i] = args.ids[i];
    args.host_own[i] = args.own[i];
    args.host_weights[i] = args.weights[i];
  }
  __threadfence_system();
  __syncthreads();
  if (threadIdx.x > 0) return;
  const uint32_t turn = *args.turns + 1;
  *args.turns = turn;
  release_to_host(&args.mailbox->posted, turn);
}

__global__ void __launch_bounds__(kPostThreads)
    guess_kernel(const __grid_constant__ DeviceGuessArgs args) {
  wait_for_previous();
  let_next_start();
  const uint32_t turn = *args.turns + 1;
  int32_t* const host_ids = args.host_ids + turn % 2 * args.choices_max;
  for (int64_t i = threadIdx.x; i < args.choices; i += kPostThreads) host_ids[i] = args.ids[i];
  __threadfence_system();
  __syncthreads();
  if (threadIdx.x == 0) release_to_host(&args.mailbox->guessed[turn % 2], turn);
}

__global__ void __launch_bounds__(kCollectThreads)
    collect_kernel(const __grid_constant__ DeviceCollectArgs args) {
  wait_for_previous();
  let_next_start();
  if (threadIdx.x == 0) {
    const uint32_t turn = *args.turns;
    const int64_t deadline_ns = clock_ns() + kAnswerTimeoutNs;
    while (acquire_from_host(&args.mailbox->answered) != turn)
      if (clock_ns() > deadline_ns) __trap();
  }
  __syncthreads();
  const auto* answer = reinterpret_cast<const float4*>(args.answer);
  auto* to = reinterpret_cast<float4*>(args.to);
  const int64_t step = int64_t{gridDim.x} * kCollectThreads;
  for (int64_t i = int64_t{blockIdx.x} * kCollectThreads + threadIdx.x; i < args.count / 4;
       i += step) {
    const float4 a = __ldcv(answer + i), b = to[i];
    to[i] = {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
  }
}

}  // namespace

void post(const DevicePostArgs& args, cudaStream_t stream) {
  launch("post", post_kernel, {dim3(1), kPostThreads, 0, stream}, args);
}

void post_guess(const DeviceGuessArgs& args, cudaStream_t stream) {
  launch("post_guess", guess_kernel, {dim3(1), kPostThreads, 0, stream}, args);
}

void collect(const DeviceCollectArgs& args, cudaStream_t stream) {
  const int64_t blocks = div_ceil(args.count / 4, kCollectThreads);
  launch("collect", collect_kernel,
         {dim3(static_cast<unsigned>(blocks < kCollectBlocksMax ? blocks : kCollectBlocksMax)),
          kCollectThreads, 0, stream},
         args);
}

}  // namespace sluice::kernels::cuda
