// Bias, norm and rotation of one head of one row, by a warp: of the kernel that turns rows
// (rows.cu). Attention of rows that are alone does the same in fewer trips (attention_decode.cu).
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ops.cuh"

namespace sluice::kernels::cuda {

struct TurnPlace {
  int64_t row = 0;
  int32_t head = 0;       // of its side
  __half* out = nullptr;  // (head_dim)
};

// {cosine, sine} by which pair number `pair` of a position turns.
__device__ __forceinline__ float2 rotation_of(const DeviceTurnArgs& args, int32_t position,
                                              int pair) {
  float sine, cosine;
  sincosf(static_cast<float>(position) * args.rope.frequencies[pair], &sine, &cosine);
  return {cosine * args.rope.magnitude, sine * args.rope.magnitude};
}

// To f16. `values`: (head_dim), shared, of this warp; rotation(pair) as rotation_of().
template <typename Rotation>
__device__ void turn_head(const DeviceTurnArgs& args, const DeviceHeads& side,
                          const TurnPlace& place, float* values, const Rotation& rotation) {
  const int lane = threadIdx.x % 32, dim = args.kv.head_dim;
  const float* x = side.x + (place.row * side.heads + place.head) * dim;
  float squares = 0;
  for (int d = lane; d < dim; d += 32) {
    float value = x[d];
    if (side.bias != nullptr) value += side.bias[place.head * dim + d];
    values[d] = value;
    squares += value * value;
  }
  float factor = 1;
  if (side.norm != nullptr)
    factor = rsqrtf(warp_sum(squares) / static_cast<float>(dim) + args.epsilon);
  __syncwarp();
  const auto normed = [&](int d) {
    return side.norm != nullptr ? values[d] * factor * side.norm[d] : values[d];
  };
  const int pairs = args.rope.dims / 2;
  for (int i = lane; i < pairs; i += 32) {
    const float2 turn = rotation(i);
    const bool adjacent = args.rope.layout == RopeLayout::kAdjacentPairs;
    const int first = adjacent ? 2 * i : i, second = adjacent ? 2 * i + 1 : i + pairs;
    const float a = normed(first), b = normed(second);
    place.out[first] = __float2half(a * turn.x - b * turn.y);
    place.out[second] = __float2half(a * turn.y + b * turn.x);
  }
  for (int d = args.rope.dims + lane; d < dim; d += 32) place.out[d] = __float2half(normed(d));
  __syncwarp();  // another head may take `values`
}

__device__ __forceinline__ void value_head(const DeviceTurnArgs& args, const TurnPlace& place) {
  const int dim = args.kv.head_dim;
  const float* v = args.v + (place.row * args.kv.kv_heads + place.head) * dim;
  for (int d = threadIdx.x % 32; d < dim; d += 32)
    place.out[d] =
        __float2half(v[d] + (args.v_bias != nullptr ? args.v_bias[place.head * dim + d] : 0.0f));
}

// Where the key of a row goes; its value stands kv_heads · kPageTokens · head_dim behind it.
__device__ __forceinline__ __half* key_place(const DeviceTurnArgs& args, int64_t row,
                                             int32_t head) {
  const int64_t dim = args.kv.head_dim;
  const int32_t position = args.rows.positions[row];
  const int64_t page = args.rows.pages[args.rows.tables[row] + position / kPageTokens];
  const int64_t heads = args.kv.kv_heads;
  return reinterpret_cast<__half*>(args.kv.base) +
         ((page * 2 * heads + head) * kPageTokens + position % kPageTokens) * dim;
}

}  // namespace sluice::kernels::cuda
