// Row-wise ops: embedding, norm, silu, rotation with the store of keys and values, argmax.
// Bound by latency where rows are few, by memory where they are many: each value is read and
// written once. Reference: kernels/ref/ref_device.cpp.
#include <cmath>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ops.cuh"

namespace sluice::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// ---- Embedding ----------------------------------------------------------------------------------

__device__ float table_value(core::DType type, const std::byte* row, int64_t column) {
  switch (type) {
    case core::DType::kF32:
      return reinterpret_cast<const float*>(row)[column];
    case core::DType::kF16:
      return __half2float(reinterpret_cast<const __half*>(row)[column]);
    case core::DType::kBF16:
      return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(row)[column]);
    default: {  // Q8_0: f16 scale, 32 codes
      const std::byte* block = row + column / 32 * 34;
      return __half2float(*reinterpret_cast<const __half*>(block)) *
             static_cast<float>(reinterpret_cast<const int8_t*>(block)[2 + column % 32]);
    }
  }
}

__global__ void embed_kernel(EmbedArgs args, int64_t row_bytes) {
  wait_for_previous();
  let_next_start();
  const int64_t row = blockIdx.x;
  const std::byte* from = args.table + args.ids[row] * row_bytes;
  for (int64_t c = threadIdx.x; c < args.columns; c += blockDim.x)
    args.out[row * args.columns + c] = table_value(args.type, from, c);
}

// ---- Norm ---------------------------------------------------------------------------------------

// A block a row; the row passes through registers' neighbour, the first cache, twice.
__global__ void norm_kernel(NormArgs args) {
  __shared__ float scratch[32];
  wait_for_previous();
  let_next_start();
  const auto* x = reinterpret_cast<const float4*>(args.x + blockIdx.x * args.columns);
  const auto* weight = reinterpret_cast<const float4*>(args.weight);
  auto* out = reinterpret_cast<uint2*>(args.out + blockIdx.x * args.columns);
  float squares = 0;
  for (int64_t i = threadIdx.x; i < args.columns / 4; i += blockDim.x) {
    const float4 v = x[i];
    squares += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  }
  const float mean = block_sum(squares, scratch) / static_cast<float>(args.columns);
  const float factor = rsqrtf(mean + args.epsilon);
  for (int64_t i = threadIdx.x; i < args.columns / 4; i += blockDim.x) {
    const float4 v = x[i], w = weight[i];
    out[i] = {bf16_pair(v.x * factor * w.x, v.y * factor * w.y),
              bf16_pair(v.z * factor * w.z, v.w * factor * w.w)};
  }
}

// ---- Elementwise --------------------------------------------------------------------------------

__device__ float silu(float x) {
  return x / (1 + __expf(-x));
}

__device__ uint32_t silu_mul_pair(uint32_t gate, uint32_t up) {
  const float2 g = floats_of_bf16(gate), u = floats_of_bf16(up);
  return bf16_pair(silu(g.x) * u.x, silu(g.y) * u.y);
}

__global__ void silu_mul_kernel(const uint4* gate, const uint4* up, int64_t count, uint4* out) {
  wait_for_previous();
  let_next_start();
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const uint4 g = gate[i], u = up[i];
  out[i] = {silu_mul_pair(g.x, u.x), silu_mul_pair(g.y, u.y), silu_mul_pair(g.z, u.z),
            silu_mul_pair(g.w, u.w)};
}

__global__ void add_bias_kernel(float* y, const float* bias, int64_t columns) {
  wait_for_previous();
  let_next_start();
  for (int64_t c = threadIdx.x; c < columns; c += blockDim.x)
    y[blockIdx.x * columns + c] += bias[c];
}

// ---- Rotation and store -------------------------------------------------------------------------

constexpr int kTurnWarps = 8;

struct TurnPlace {
  int64_t row = 0;
  int32_t head = 0;  // of its side
  __half* out = nullptr;
};

// One head of one row: bias, norm, rotation, to f16. A warp; `values` is its shared row.
__device__ void turn_head(const DeviceTurnArgs& args, const DeviceHeads& side,
                          const TurnPlace& place, float* values) {
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
  const float position = static_cast<float>(args.rows.positions[place.row]);
  for (int i = lane; i < pairs; i += 32) {
    float sine, cosine;
    sincosf(position * args.rope.frequencies[i], &sine, &cosine);
    sine *= args.rope.magnitude;
    cosine *= args.rope.magnitude;
    const bool adjacent = args.rope.layout == RopeLayout::kAdjacentPairs;
    const int first = adjacent ? 2 * i : i, second = adjacent ? 2 * i + 1 : i + pairs;
    const float a = normed(first), b = normed(second);
    place.out[first] = __float2half(a * cosine - b * sine);
    place.out[second] = __float2half(a * sine + b * cosine);
  }
  for (int d = args.rope.dims + lane; d < dim; d += 32) place.out[d] = __float2half(normed(d));
}

__device__ __half* key_place(const DeviceTurnArgs& args, int64_t row, int32_t head) {
  const int64_t dim = args.kv.head_dim;
  const int32_t position = args.rows.positions[row];
  const int64_t page = args.rows.pages[args.rows.tables[row] + position / kPageTokens];
  const int64_t heads = args.kv.kv_heads;
  return reinterpret_cast<__half*>(args.kv.base) +
         ((page * 2 * heads + head) * kPageTokens + position % kPageTokens) * dim;
}

// A warp for each head of q, k and v of each row.
__global__ void turn_kernel(DeviceTurnArgs args) {
  __shared__ float shared[kTurnWarps][kHeadDimMax];
  wait_for_previous();
  let_next_start();
  const int dim = args.kv.head_dim, kv_heads = args.kv.kv_heads;
  const int per_row = args.q.heads + 2 * kv_heads;
  const int64_t unit = int64_t{blockIdx.x} * kTurnWarps + threadIdx.x / 32;
  const int64_t row = unit / per_row;
  const int head = static_cast<int>(unit % per_row);
  if (row >= args.rows.rows) return;
  float* values = shared[threadIdx.x / 32];
  if (head < args.q.heads) {
    auto* out = reinterpret_cast<__half*>(args.q_out) + (row * args.q.heads + head) * dim;
    turn_head(args, args.q, {row, head, out}, values);
    return;
  }
  if (args.rows.tables[row] < 0) return;
  const int kv_head = (head - args.q.heads) % kv_heads;
  __half* keys = key_place(args, row, kv_head);
  if (head < args.q.heads + kv_heads) {
    turn_head(args, args.k, {row, kv_head, keys}, values);
    return;
  }
  __half* out = keys + int64_t{kv_heads} * kPageTokens * dim;
  const float* v = args.v + (row * kv_heads + kv_head) * dim;
  for (int d = threadIdx.x % 32; d < dim; d += 32)
    out[d] = __float2half(v[d] + (args.v_bias != nullptr ? args.v_bias[kv_head * dim + d] : 0.0f));
}

// ---- Argmax -------------------------------------------------------------------------------------

constexpr int kArgmaxThreads = 1024;
constexpr int kArgmaxLoads = 16;  // on their way together

struct Best {
  float value = -INFINITY;
  int32_t id = INT32_MAX;
};
__device__ Best better(Best a, Best b) {
  const bool second = b.value > a.value || (b.value == a.value && b.id < a.id);
  return second ? b : a;
}

__global__ void argmax_kernel(const float* logits, int64_t columns, int32_t* ids) {
  __shared__ Best of_warp[32];
  wait_for_previous();
  let_next_start();
  const float* row = logits + blockIdx.x * columns;
  Best best;
  for (int64_t first = threadIdx.x; first < columns; first += kArgmaxThreads * kArgmaxLoads) {
    float values[kArgmaxLoads];
#pragma unroll
    for (int i = 0; i < kArgmaxLoads; ++i) {
      const int64_t c = first + i * kArgmaxThreads;
      values[i] = c < columns ? row[c] : -INFINITY;
    }
#pragma unroll
    for (int i = 0; i < kArgmaxLoads; ++i)
      best = better(best, {values[i], static_cast<int32_t>(first + i * kArgmaxThreads)});
  }
  const auto reduce = [&best] {
    for (int offset = 16; offset > 0; offset /= 2)
      best = better(best, {__shfl_xor_sync(0xffffffffu, best.value, offset),
                           __shfl_xor_sync(0xffffffffu, best.id, offset)});
  };
  reduce();
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  best = of_warp[threadIdx.x];
  reduce();
  if (threadIdx.x == 0) ids[blockIdx.x] = best.id == INT32_MAX ? 0 : best.id;
}

dim3 blocks_of(int64_t count) {
  return dim3(static_cast<unsigned>(count));
}

}  // namespace

void embed(const EmbedArgs& args, cudaStream_t stream) {
  const int64_t row_bytes = args.type == core::DType::kF32    ? args.columns * 4
                            : args.type == core::DType::kQ8_0 ? args.columns / 32 * 34
                                                              : args.columns * 2;
  launch("embed", embed_kernel, {blocks_of(args.rows), kThreads, 0, stream}, args, row_bytes);
}

void norm_rows(const NormArgs& args, cudaStream_t stream) {
  launch("norm", norm_kernel, {blocks_of(args.rows), kThreads, 0, stream}, args);
}

void silu_mul(const uint16_t* gate, const uint16_t* up, int64_t count, uint16_t* out,
              cudaStream_t stream) {
  const int64_t vectors = count / 8;
  launch("silu_mul", silu_mul_kernel,
         {blocks_of(div_ceil(vectors, int64_t{kThreads})), kThreads, 0, stream},
         reinterpret_cast<const uint4*>(gate), reinterpret_cast<const uint4*>(up), vectors,
         reinterpret_cast<uint4*>(out));
}

void add_bias(float* y, const float* bias, int64_t rows, int64_t columns, cudaStream_t stream) {
  launch("add_bias", add_bias_kernel, {blocks_of(rows), kThreads, 0, stream}, y, bias, columns);
}

void turn(const DeviceTurnArgs& args, cudaStream_t stream) {
  const int64_t units = args.rows.rows * (args.q.heads + 2 * args.kv.kv_heads);
  launch("turn", turn_kernel,
         {blocks_of(div_ceil(units, int64_t{kTurnWarps})), 32 * kTurnWarps, 0, stream}, args);
}

void argmax(const float* logits, int64_t rows, int64_t columns, int32_t* ids, cudaStream_t stream) {
  launch("argmax", argmax_kernel, {blocks_of(rows), kArgmaxThreads, 0, stream}, logits, columns,
         ids);
}

}  // namespace sluice::kernels::cuda
