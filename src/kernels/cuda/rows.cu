// Row-wise ops: embedding, norm, silu, rotation with the store of keys and values, argmax.
// Bound by latency where rows are few, by memory where they are many: each value is read and
// written once. Reference: kernels/ref/ref_device.cpp.
#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/logit_key.cuh"
#include "kernels/cuda/ops.cuh"
#include "kernels/cuda/turn_head.cuh"

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
  let_next_start();
  wait_for_previous();
  const int64_t row = blockIdx.x, column = int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (column >= args.columns) return;
  const std::byte* from = args.table + args.ids[row] * row_bytes;
  args.out[row * args.columns + column] = table_value(args.type, from, column);
}

// ---- Norm ---------------------------------------------------------------------------------------

constexpr int kNormThreads = 512;
constexpr int kNormLoads = 4;  // of a thread, kept: 8,192 columns are read once

// A block a row.
__global__ void __launch_bounds__(kNormThreads) norm_kernel(NormArgs args) {
  __shared__ float scratch[32];
  let_next_start();
  const auto* x = reinterpret_cast<const float4*>(args.x + blockIdx.x * args.columns);
  const auto* weight = reinterpret_cast<const float4*>(args.weight);
  auto* out = reinterpret_cast<uint2*>(args.out + blockIdx.x * args.columns);
  const int vectors = static_cast<int>(args.columns / 4);
  const float4 none{0, 0, 0, 0};
  float4 values[kNormLoads], weights[kNormLoads];
#pragma unroll
  for (int l = 0; l < kNormLoads; ++l) {
    const int i = l * kNormThreads + static_cast<int>(threadIdx.x);
    weights[l] = i < vectors ? weight[i] : none;
  }
  wait_for_previous();
#pragma unroll
  for (int l = 0; l < kNormLoads; ++l) {
    const int i = l * kNormThreads + static_cast<int>(threadIdx.x);
    values[l] = i < vectors ? x[i] : none;
  }
  const auto squares_of = [](const float4& v) {
    return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  };
  float squares = 0;
#pragma unroll
  for (const float4& v : values) squares += squares_of(v);
  const int behind = kNormLoads * kNormThreads + static_cast<int>(threadIdx.x);
  for (int i = behind; i < vectors; i += kNormThreads) squares += squares_of(x[i]);
  const float mean = block_sum(squares, scratch) / static_cast<float>(args.columns);
  const float factor = rsqrtf(mean + args.epsilon);
  const auto put = [&](int i, const float4& v, const float4& w) {
    out[i] = {bf16_pair(v.x * factor * w.x, v.y * factor * w.y),
              bf16_pair(v.z * factor * w.z, v.w * factor * w.w)};
  };
#pragma unroll
  for (int l = 0; l < kNormLoads; ++l) {
    const int i = l * kNormThreads + static_cast<int>(threadIdx.x);
    if (i < vectors) put(i, values[l], weights[l]);
  }
  for (int i = behind; i < vectors; i += kNormThreads) put(i, x[i], weight[i]);
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
  let_next_start();
  wait_for_previous();
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const uint4 g = gate[i], u = up[i];
  out[i] = {silu_mul_pair(g.x, u.x), silu_mul_pair(g.y, u.y), silu_mul_pair(g.z, u.z),
            silu_mul_pair(g.w, u.w)};
}

__global__ void add_bias_kernel(float* y, const float* bias, int64_t columns) {
  let_next_start();
  wait_for_previous();
  for (int64_t c = threadIdx.x; c < columns; c += blockDim.x)
    y[blockIdx.x * columns + c] += bias[c];
}

// ---- Rotation and store -------------------------------------------------------------------------

constexpr int kTurnWarps = 8;

// A warp for each head of q, k and v of each row.
__global__ void turn_kernel(DeviceTurnArgs args) {
  __shared__ float shared[kTurnWarps][kHeadDimMax];
  let_next_start();
  wait_for_previous();
  const int dim = args.kv.head_dim, kv_heads = args.kv.kv_heads;
  const int per_row = args.q.heads + 2 * kv_heads;
  const int64_t unit = int64_t{blockIdx.x} * kTurnWarps + threadIdx.x / 32;
  const int64_t row = unit / per_row;
  const int head = static_cast<int>(unit % per_row);
  if (row >= args.rows.rows) return;
  float* values = shared[threadIdx.x / 32];
  const auto rotation = [&](int pair) { return rotation_of(args, args.rows.positions[row], pair); };
  if (head < args.q.heads) {
    auto* out = reinterpret_cast<__half*>(args.q_out) + (row * args.q.heads + head) * dim;
    turn_head(args, args.q, {row, head, out}, values, rotation);
    return;
  }
  if (args.rows.tables[row] < 0) return;
  const int kv_head = (head - args.q.heads) % kv_heads;
  __half* keys = key_place(args, row, kv_head);
  if (head < args.q.heads + kv_heads) {
    turn_head(args, args.k, {row, kv_head, keys}, values, rotation);
    return;
  }
  __half* out = keys + int64_t{kv_heads} * kPageTokens * dim;
  value_head(args, {row, kv_head, out});
}

// ---- Argmax -------------------------------------------------------------------------------------

constexpr int kArgmaxThreads = 512;
constexpr int kArgmaxLoads = 8;        // on their way together
constexpr int kArgmaxBlocks = 32;      // of a row
constexpr int kArgmaxBlocksAll = 512;  // of all rows, as long as each has one

// The block of a row that ends last writes the row's id, and leaves the scratch zero.
__global__ void argmax_kernel(const float* logits, int64_t columns, ArgmaxScratch scratch,
                              int32_t* ids) {
  __shared__ unsigned long long of_block;
  let_next_start();
  if (threadIdx.x == 0) of_block = 0;
  __syncthreads();
  wait_for_previous();
  const float* row = logits + blockIdx.y * columns;
  const int64_t step = int64_t{gridDim.x} * kArgmaxThreads;
  unsigned long long best = 0;
  for (int64_t first = int64_t{blockIdx.x} * kArgmaxThreads + threadIdx.x; first < columns;
       first += step * kArgmaxLoads) {
    float values[kArgmaxLoads];
#pragma unroll
    for (int i = 0; i < kArgmaxLoads; ++i) {
      const int64_t c = first + i * step;
      values[i] = c < columns ? row[c] : __uint_as_float(kMaskedLogitBits);
    }
#pragma unroll
    for (int i = 0; i < kArgmaxLoads; ++i)
      best = max(best, static_cast<unsigned long long>(logit_key(values[i], first + i * step)));
  }
  for (int offset = 16; offset > 0; offset /= 2)
    best = max(best, __shfl_xor_sync(0xffffffffu, best, offset));
  if (threadIdx.x % 32 == 0) atomicMax(&of_block, best);
  __syncthreads();
  if (threadIdx.x != 0) return;
  unsigned long long* of_row = scratch.best + blockIdx.y;
  atomicMax(of_row, of_block);
  __threadfence();
  if (atomicInc(scratch.counters + blockIdx.y, gridDim.x - 1) != gridDim.x - 1) return;
  __threadfence();
  const unsigned long long key = atomicExch(of_row, 0ull);
  ids[blockIdx.y] = id_of_key(key);
}

dim3 blocks_of(int64_t count) {
  return dim3(static_cast<unsigned>(count));
}

}  // namespace

void embed(const EmbedArgs& args, cudaStream_t stream) {
  const int64_t row_bytes = args.type == core::DType::kF32    ? args.columns * 4
                            : args.type == core::DType::kQ8_0 ? args.columns / 32 * 34
                                                              : args.columns * 2;
  launch("embed", embed_kernel,
         {dim3(static_cast<unsigned>(args.rows),
               static_cast<unsigned>(div_ceil(args.columns, int64_t{kThreads}))),
          kThreads, 0, stream},
         args, row_bytes);
}

void norm_rows(const NormArgs& args, cudaStream_t stream) {
  launch("norm", norm_kernel, {blocks_of(args.rows), kNormThreads, 0, stream}, args);
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

void argmax(const ArgmaxArgs& args, const ArgmaxScratch& scratch, cudaStream_t stream) {
  const int64_t wanted = div_ceil(args.columns, int64_t{kArgmaxThreads} * kArgmaxLoads);
  const int64_t of_row = std::clamp<int64_t>(kArgmaxBlocksAll / args.rows, 1, kArgmaxBlocks);
  const int64_t blocks = std::min(wanted, of_row);
  launch("argmax", argmax_kernel,
         {dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(args.rows)), kArgmaxThreads, 0,
          stream},
         args.logits, args.columns, scratch, args.ids);
}

}  // namespace sluice::kernels::cuda
