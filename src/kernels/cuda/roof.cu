// What the card can do at most: reading memory, and values for a matrix product to measure.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ops.cuh"

namespace sluice::kernels::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int64_t kReadBytes = int64_t{1} << 30;  // many times the second cache
constexpr int kPasses = 8;

__global__ void read_kernel(const uint4* from, int64_t count, uint32_t* out) {
  uint32_t sum = 0;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  for (; i + 3 * step < count; i += 4 * step) {
    const uint4 a = load_weights(from + i), b = load_weights(from + i + step),
                c = load_weights(from + i + 2 * step), d = load_weights(from + i + 3 * step);
    sum += (a.x ^ a.y ^ a.z ^ a.w) + (b.x ^ b.y ^ b.z ^ b.w) + (c.x ^ c.y ^ c.z ^ c.w) +
           (d.x ^ d.y ^ d.z ^ d.w);
  }
  if (sum == 0x12345678u) *out = sum;  // so that the reads are not left out
}

// Uniform in [-1, 1).
__global__ void random_kernel(uint16_t* out, int64_t count) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  uint32_t v = static_cast<uint32_t>(i) * 2654435761u;
  v = (v ^ v >> 15) * 2246822519u;
  v = (v ^ v >> 13) * 3266489917u;
  v ^= v >> 16;
  out[i] = static_cast<uint16_t>(bf16_pair(static_cast<float>(v >> 8) * 0x1p-23f - 1, 0) & 0xffffu);
}

}  // namespace

double measure_read_gb_s(cudaStream_t stream) {
  std::byte* memory = nullptr;
  check(cudaMalloc(&memory, kReadBytes + 16), "memory of the read measurement");
  check(cudaMemsetAsync(memory, 0x5a, kReadBytes, stream), "memset");
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    check(cudaEventRecord(begin, stream), "event");
    read_kernel<<<132 * 8, kThreads, 0, stream>>>(reinterpret_cast<const uint4*>(memory),
                                                  kReadBytes / 16,
                                                  reinterpret_cast<uint32_t*>(memory + kReadBytes));
    check(cudaGetLastError(), "read");
    check(cudaEventRecord(end, stream), "event");
    check(cudaEventSynchronize(end), "read");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "event");
    const double speed = static_cast<double>(kReadBytes) / (static_cast<double>(ms) * 1e6);
    best = speed > best ? speed : best;
  }
  check(cudaEventDestroy(begin), "event");
  check(cudaEventDestroy(end), "event");
  check(cudaFree(memory), "free");
  return best;
}

void fill_random_bf16(uint16_t* out, int64_t count, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(div_ceil(count, kThreads));
  random_kernel<<<blocks, kThreads, 0, stream>>>(out, count);
  check(cudaGetLastError(), "random values");
}

}  // namespace sluice::kernels::cuda
