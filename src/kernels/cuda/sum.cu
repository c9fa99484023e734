// Parts of a product that several cards have made, added to the residual stream of one. Bound by
// reading the other cards' parts over their link: rows · columns · 4 bytes of each.
//
// The parts are ready by the stream's order (Device::meet), not by a counter that a kernel waits
// for: two devices may share one card, where a kernel that waits could keep out the one it waits
// for. So this kernel alone is no programmatic dependent of the one before it: events of other
// streams stand between.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sum.cuh"

namespace sluice::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kBlocksMax = 1024;

struct Parts {
  const float4* from[kCardsMax];
};

__global__ void __launch_bounds__(kThreads)
    sum_kernel(float4* to, Parts parts, int part_count, const float4* bias, int64_t count,
               int64_t columns) {
  let_next_start();
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += step) {
    float4 sum = bias != nullptr ? bias[i % columns] : float4{0, 0, 0, 0};
    for (int p = 0; p < part_count; ++p) {
      const float4 part = __ldcv(parts.from[p] + i);
      sum = {sum.x + part.x, sum.y + part.y, sum.z + part.z, sum.w + part.w};
    }
    const float4 old = to[i];
    to[i] = {old.x + sum.x, old.y + sum.y, old.z + sum.z, old.w + sum.w};
  }
}

}  // namespace

void sum(const DeviceSumArgs& args, cudaStream_t stream) {
  Parts parts{};
  for (int32_t p = 0; p < args.part_count; ++p)
    parts.from[p] = reinterpret_cast<const float4*>(args.parts[static_cast<size_t>(p)]);
  const int64_t columns = args.columns / 4, count = args.rows * columns;
  const int64_t blocks = div_ceil(count, kThreads);
  sum_kernel<<<static_cast<unsigned>(blocks < kBlocksMax ? blocks : kBlocksMax), kThreads, 0,
               stream>>>(reinterpret_cast<float4*>(args.to), parts, args.part_count,
                         reinterpret_cast<const float4*>(args.bias), count, columns);
  check(cudaGetLastError(), "sum");
}

}  // namespace sluice::kernels::cuda
