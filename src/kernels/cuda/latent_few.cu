// Latent attention's products with a matrix for each head, for few rows and Q8_0, with the row-wise
// work before them: a block has a head, and its weights are on their way before the op before has
// ended. Bound by latency: a layer's matrices are some 9 MB. Inputs are rounded to 16 bits with a
// scale for 16 values, and meet the codes in dp4a as two bytes. Reference:
// kernels/ref/ref_device_latent.cpp.
#include "kernels/cuda/latent_parts.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/narrow_formats.cuh"
#include "kernels/cuda/turn_values.cuh"
#include "kernels/device_weights.h"

namespace sluice::kernels::cuda {
namespace {

constexpr int kThreads = kNarrowThreads;
constexpr int kWarps = kNarrowWarps;
constexpr int64_t kRowsMax = 4;
constexpr int kLoads = 8;   // chunks that a thread reads at once
constexpr int kChunk = 16;  // weights

struct HeadMatrix {
  NarrowMatrix matrix;  // of head 0
  int64_t stride_bytes = 0;
  int32_t inputs = 0;  // 16 · a power of two up to 32
  int32_t lanes = 0;   // that share an output: inputs / 16
};

HeadMatrix head_matrix(const DeviceStack& stack) {
  const PackedWeights& w = stack.first;
  return {{w.data, w.data + device_scales_at(w.type, w.outputs, w.inputs), w.outputs, nullptr},
          stack.stride_bytes,
          static_cast<int32_t>(w.inputs),
          static_cast<int32_t>(w.inputs / kChunk)};
}

// 16 inputs of a lane: value = scale · (256 · high + low), bytes. NaN makes the scale NaN.
struct Inputs16 {
  uint4 high;
  uint4 low;
  float scale;
};
__device__ Inputs16 inputs_of(const float (&values)[kChunk]) {
  constexpr float kLargest = 32512;  // 127 · 256: a high byte is at most 127
  float largest = 0;
#pragma unroll
  for (const float value : values) largest = larger_size(largest, value);
  largest = fabsf(largest);
  const float inverse = largest > 0 ? __fdividef(kLargest, largest) : 0;
  uint32_t high[4], low[4];
#pragma unroll
  for (int word = 0; word < 4; ++word) {
    high[word] = low[word] = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int n = __float2int_rn(values[word * 4 + i] * inverse), top = (n + 128) >> 8;
      high[word] |= (static_cast<uint32_t>(top) & 0xffu) << (8 * i);
      low[word] |= (static_cast<uint32_t>(n - top * 256) & 0xffu) << (8 * i);
    }
  }
  return {{high[0], high[1], high[2], high[3]},
          {low[0], low[1], low[2], low[3]},
          largest * (1 / kLargest)};
}

// Outputs of one head, dealt in turns of all threads; lanes side by side share an output.
class HeadOutputs {
 public:
  __device__ HeadOutputs(const HeadMatrix& m, int head)
      : m_(m),
        matrix_{m.matrix.data + head * m.stride_bytes, m.matrix.scales + head * m.stride_bytes,
                m.matrix.outputs, nullptr},
        lane_(static_cast<int>(threadIdx.x) % m.lanes),
        output_(static_cast<int>(threadIdx.x) / m.lanes),
        step_(kThreads / m.lanes) {
    load(0);
  }
  __device__ int lane() const { return lane_; }

  // put(output, value) by one lane of each
  template <typename Put>
  __device__ void run(const Inputs16& x, const Put& put) {
    for (int first = 0; first < matrix_.outputs; first += kLoads * step_) {
      if (first > 0) load(first);
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        const int sum = dot16(chunks_[i].codes, x.high) * 256 + dot16(chunks_[i].codes, x.low);
        float value = x.scale * floats_of_halves(chunks_[i].scale).x * static_cast<float>(sum);
        for (int offset = m_.lanes / 2; offset > 0; offset /= 2)
          value += __shfl_xor_sync(0xffffffffu, value, offset);
        const int output = first + output_ + i * step_;
        if (lane_ == 0 && output < matrix_.outputs) put(output, value);
      }
    }
  }

 private:
  __device__ void load(int first) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int output = first + output_ + i * step_;
      chunks_[i] = output < matrix_.outputs ? Q8Weights(matrix_, m_.inputs, output, lane_).load(0)
                                            : Q8Weights::Chunk{};
    }
  }

  const HeadMatrix& m_;
  const NarrowMatrix matrix_;
  const int lane_, output_, step_;
  Q8Weights::Chunk chunks_[kLoads];
};

// ---- Queries and the cache's row ----------------------------------------------------------------

struct QueryArgs {
  DeviceLatentArgs latent;
  HeadMatrix k_b;
  uint16_t* queries = nullptr;  // f16 (rows, heads, cache row)
};

__device__ void store_key(const DeviceLatentArgs& args, int64_t row) {
  __shared__ float scratch[32];
  const int rank = args.kv.latent_rank;
  const float* low = args.kv_low + row * args.kv.head_dim;
  const float value = threadIdx.x < rank ? low[threadIdx.x] : 0;
  const int32_t position = args.rows.positions[row];
  const int64_t page = args.rows.pages[args.rows.tables[row] + position / kPageTokens];
  auto* out = reinterpret_cast<__half*>(args.kv.base) +
              (page * kPageTokens + position % kPageTokens) * args.kv.head_dim;
  const float mean = block_sum(value * value, scratch) / static_cast<float>(rank);
  if (threadIdx.x < rank)
    out[threadIdx.x] = __float2half(value * rsqrtf(mean + args.epsilon) * args.norm[threadIdx.x]);
  if (threadIdx.x < 32) turn_values(args, row, low + rank, out + rank);
}

// Blocks: heads and one for the key, rows.
__global__ void __launch_bounds__(kThreads, 1)
    queries_kernel(const __grid_constant__ QueryArgs args) {
  const DeviceLatentArgs& latent = args.latent;
  let_next_start();
  const int64_t row = blockIdx.y;
  const int head = blockIdx.x;
  if (head == latent.heads) {
    wait_for_previous();
    if (latent.rows.tables[row] >= 0) store_key(latent, row);
    return;
  }
  HeadOutputs outputs(args.k_b, head);
  wait_for_previous();
  const int64_t at = row * latent.heads + head;
  const float* q = latent.q + at * (args.k_b.inputs + latent.rope.dims);
  auto* out = reinterpret_cast<__half*>(args.queries) + at * latent.kv.head_dim;
  float values[kChunk];
#pragma unroll
  for (int i = 0; i < kChunk; i += 4)
    *reinterpret_cast<float4*>(values + i) =
        *reinterpret_cast<const float4*>(q + outputs.lane() * kChunk + i);
  if (threadIdx.x / 32 == kWarps - 1)
    turn_values(latent, row, q + args.k_b.inputs, out + latent.kv.latent_rank);
  outputs.run(inputs_of(values),
              [&](int output, float value) { out[output] = __float2half(value); });
}

// ---- Out of the latent space --------------------------------------------------------------------

struct ValueArgs {
  HeadMatrix v_b;
  const uint16_t* attended = nullptr;  // bf16 (rows, heads, latent rank): of rows of one part
  uint16_t* out = nullptr;             // bf16 (rows, heads, value dims)
  DeviceRows rows;
  LatentSplits splits;
  const float* parts = nullptr;
};

// What all parts of a row have summed, a thread a column; so that lanes that read 16 columns each
// find them in different banks, four floats lie between.
__device__ __forceinline__ int joined_at(int column) {
  return column + column / kChunk * 4;
}
__device__ void join_parts(const LatentParts& from, int columns, float* joined) {
  __shared__ float weights[kLatentSplitsMax];
  if (threadIdx.x < 32) weigh_parts(from, weights);
  __syncthreads();
  const int column = static_cast<int>(threadIdx.x);
  if (column < columns) {
    float sum = 0;
#pragma unroll 8
    for (int p = 0; p < from.parts; ++p)
      sum = fmaf(weights[p], from.sums[int64_t{p} * kLatentPartFloats + column], sum);
    joined[joined_at(column)] = sum;
  }
  __syncthreads();
}

// Blocks: heads, rows.
__global__ void __launch_bounds__(kThreads, 1)
    values_kernel(const __grid_constant__ ValueArgs args) {
  __shared__ alignas(16) float joined[kLatentRank + kLatentRank / kChunk * 4];
  let_next_start();
  const int head = static_cast<int>(blockIdx.x), heads = static_cast<int>(gridDim.x);
  HeadOutputs outputs(args.v_b, head);
  wait_for_previous();
  const int64_t at = int64_t{blockIdx.y} * heads + head;
  LatentParts from;
  if (args.rows.tables[blockIdx.y] >= 0)
    from = parts_of(args.rows, blockIdx.y, head, heads, args.splits, args.parts);
  float values[kChunk];
  if (from.parts > 1) {
    join_parts(from, args.v_b.inputs, joined);
#pragma unroll
    for (int i = 0; i < kChunk; i += 4)
      *reinterpret_cast<float4*>(values + i) =
          *reinterpret_cast<const float4*>(joined + joined_at(outputs.lane() * kChunk) + i);
  } else {
    const auto* x = reinterpret_cast<const uint4*>(args.attended + at * args.v_b.inputs +
                                                   outputs.lane() * kChunk);
    const uint4 halves[2] = {x[0], x[1]};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t words[4] = {halves[half].x, halves[half].y, halves[half].z, halves[half].w};
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const float2 two = floats_of_bf16(words[w]);
        values[half * 8 + w * 2] = two.x;
        values[half * 8 + w * 2 + 1] = two.y;
      }
    }
  }
  auto* out = reinterpret_cast<__nv_bfloat16*>(args.out) + at * args.v_b.matrix.outputs;
  outputs.run(inputs_of(values),
              [&](int output, float value) { out[output] = __float2bfloat16(value); });
}

bool is_fit(const PackedWeights& w) {
  const int64_t lanes = w.inputs / kChunk;
  return w.type == core::DType::kQ8_0 && w.inputs % kChunk == 0 && lanes >= 2 && lanes <= 32 &&
         (lanes & (lanes - 1)) == 0;
}

}  // namespace

bool latent_rows_are_few(const DeviceLatentArgs& args) {
  return args.rows.rows <= kRowsMax && is_fit(args.k_b.first) && is_fit(args.v_b.first) &&
         args.kv.latent_rank <= kThreads && args.rope.dims % 4 == 0;
}

void make_queries(const DeviceLatentArgs& args, const LatentScratch& scratch, cudaStream_t stream) {
  launch("latent_queries", queries_kernel,
         {dim3(static_cast<unsigned>(args.heads + 1), static_cast<unsigned>(args.rows.rows)),
          kThreads, 0, stream},
         QueryArgs{args, head_matrix(args.k_b), scratch.queries});
}

void make_values(const DeviceLatentArgs& args, const LatentScratch& scratch,
                 const LatentSplits& splits, cudaStream_t stream) {
  launch("latent_values", values_kernel,
         {dim3(static_cast<unsigned>(args.heads), static_cast<unsigned>(args.rows.rows)), kThreads,
          0, stream},
         ValueArgs{head_matrix(args.v_b), scratch.attended, args.out, args.rows, splits,
                   scratch.parts});
}

}  // namespace sluice::kernels::cuda
