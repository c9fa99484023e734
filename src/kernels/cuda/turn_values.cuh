// Rotation of the dimensions of a latent query or key that turn, by a warp (latent_rows.cu,
// latent_few.cu).
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/device_latent_args.h"

namespace sluice::kernels::cuda {

// x (rope.dims) of a row to out, turned.
__device__ inline void turn_values(const DeviceLatentArgs& args, int64_t row, const float* x,
                                   __half* out) {
  const int pairs = args.rope.dims / 2;
  const auto position = static_cast<float>(args.rows.positions[row]);
  for (int i = threadIdx.x % 32; i < pairs; i += 32) {
    float sine, cosine;
    sincosf(position * args.rope.frequencies[i], &sine, &cosine);
    sine *= args.rope.magnitude;
    cosine *= args.rope.magnitude;
    const bool adjacent = args.rope.layout == RopeLayout::kAdjacentPairs;
    const int first = adjacent ? 2 * i : i, second = adjacent ? 2 * i + 1 : i + pairs;
    const float a = x[first], b = x[second];
    out[first] = __float2half(a * cosine - b * sine);
    out[second] = __float2half(a * sine + b * cosine);
  }
}

}  // namespace sluice::kernels::cuda
