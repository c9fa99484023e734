// Latent attention of a prompt's rows, not absorbed: keys and values of all heads are made of the
// latent vectors, and a head's query has nope + turned dimensions instead of the latent rank and
// more. A query and a key cost 2 · (192 + 128) operations then and not 2 · (576 + 512); for a
// prompt's many rows the products that make keys and values are few beside that. Bound by the
// tensor cores. Reference: kernels/ref/ref_device_latent.cpp.
//
// attend_kernel: a block has up to 128 rows of a sequence and one head, eight warps of 16 rows that
// share tiles of 64 keys and values, the next tile on its way while one is used. Shared memory: two
// stages of { keys (64, kKey), values (64, kValue) } f16; a key is (nope, turned), each padded.
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/block_values.cuh"
#include "kernels/cuda/latent.cuh"
#include "kernels/device_weights.h"

namespace sluice::kernels::cuda {
namespace {

// ---- Matrices, and rows of the cache ------------------------------------------------------------

constexpr int kThreads = 256;
constexpr int kSide = 64;  // of the part of a matrix that a block decodes

struct StackArgs {
  const std::byte* first = nullptr;
  int64_t stride_bytes = 0;
  int64_t scales_at = 0;
  int outputs = 0;
  int inputs = 0;
  __half* out = nullptr;  // (count, outputs, inputs), or turned: (count, inputs, outputs)
};

// Blocks: inputs, outputs, matrices.
template <core::DType kType, bool kTurned>
__global__ void __launch_bounds__(kThreads) decode_stack_kernel(StackArgs args) {
  __shared__ __half part[kSide][kSide + 2];
  let_next_start();
  wait_for_previous();
  const std::byte* data = args.first + blockIdx.z * args.stride_bytes;
  const BlockMatrix matrix{reinterpret_cast<const uint8_t*>(data), nullptr,
                           reinterpret_cast<const __half*>(data + args.scales_at)};
  __half* out = args.out + int64_t{blockIdx.z} * args.outputs * args.inputs;
  const int first_input = blockIdx.x * kSide, first_output = blockIdx.y * kSide;
  for (int i = threadIdx.x; i < kSide * kSide / 8; i += kThreads) {
    const int row = i / (kSide / 8), column = i % (kSide / 8) * 8;
    const int output = first_output + row, input = first_input + column;
    if (output >= args.outputs || input >= args.inputs) continue;
    float v[8];
    decode_eight<kType>(matrix, (int64_t{output} * args.inputs + input) / 8, v);
    if constexpr (kTurned) {
#pragma unroll
      for (int n = 0; n < 8; ++n) part[row][column + n] = __float2half(v[n]);
    } else {
      *reinterpret_cast<uint4*>(out + int64_t{output} * args.inputs + input) = {
          half_pair(v[0], v[1]), half_pair(v[2], v[3]), half_pair(v[4], v[5]),
          half_pair(v[6], v[7])};
    }
  }
  if constexpr (!kTurned) return;
  __syncthreads();
  for (int i = threadIdx.x; i < kSide * kSide; i += kThreads) {
    const int row = i % kSide, column = i / kSide;
    const int output = first_output + row, input = first_input + column;
    if (output < args.outputs && input < args.inputs)
      out[int64_t{input} * args.outputs + output] = part[row][column];
  }
}

template <core::DType kType>
void launch_decode(const StackArgs& args, int32_t count, HeadMatrices as, cudaStream_t stream) {
  const auto blocks = [](int n) { return static_cast<unsigned>(div_ceil(n, kSide)); };
  launch("latent_decode",
         as == HeadMatrices::kTurned ? decode_stack_kernel<kType, true>
                                     : decode_stack_kernel<kType, false>,
         {dim3(blocks(args.inputs), blocks(args.outputs), static_cast<unsigned>(count)), kThreads,
          0, stream},
         args);
}

struct GatherArgs {
  DeviceLatentArgs latent;
  LatentPrompt prompt;
  int padded = 0;
  LatentRoom room;
};

// A warp has a position; positions behind the last are zero.
__global__ void __launch_bounds__(kThreads) gather_kernel(const __grid_constant__ GatherArgs args) {
  let_next_start();
  wait_for_previous();
  const int position = (blockIdx.x * kThreads + threadIdx.x) / 32, lane = threadIdx.x % 32;
  if (position >= args.padded) return;
  const KvLayer& kv = args.latent.kv;
  const DeviceRows& rows = args.latent.rows;
  const int rank = kv.latent_rank, turned = kv.head_dim - rank;
  const bool has = position < args.prompt.tokens;
  const int64_t page =
      has ? rows.pages[rows.tables[args.prompt.first_row] + position / kPageTokens] : 0;
  const auto* from =
      reinterpret_cast<const uint4*>(reinterpret_cast<const __half*>(kv.base) +
                                     (page * kPageTokens + position % kPageTokens) * kv.head_dim);
  const uint4 none{0, 0, 0, 0};
  auto* latents = reinterpret_cast<uint4*>(args.room.latents + int64_t{position} * rank);
  for (int i = lane; i < rank / 8; i += 32) latents[i] = has ? from[i] : none;
  auto* keys = reinterpret_cast<uint4*>(args.room.turned + int64_t{position} * kLatentTurned);
  if (lane < kLatentTurned / 8)
    keys[lane] = has && lane * 8 < turned ? from[rank / 8 + lane] : none;
}

// ---- Attention ----------------------------------------------------------------------------------

constexpr int kNope = kLatentPromptDims;
constexpr int kKey = kNope + kLatentTurned;
constexpr int kValue = kLatentPromptDims;
constexpr int kKeyBytes = kTileTokens * kKey * 2;
constexpr int kStageBytes = kKeyBytes + kTileTokens * kValue * 2;
constexpr int kBlockRows = 128;
static_assert(kBlockRows == kThreads / 32 * 16);

struct PromptArgs {
  LatentPromptHeads of;
  const float* q = nullptr;          // (rows, heads, nope + turned)
  const __half* turned_q = nullptr;  // (rows, heads, q_pitch), of which the first `turned`
  int q_pitch = 0;
  const __half* keys = nullptr;         // (tokens, heads of the group, nope)
  const __half* turned_keys = nullptr;  // (tokens, kLatentTurned)
  const __half* values = nullptr;       // (tokens, heads of the group, value dims)
  uint16_t* out = nullptr;              // bf16 (rows, heads, value dims)
  int rows = 0;
  int first_position = 0;
  int all_heads = 0;
  int nope = 0;
  int turned = 0;
  int value_dims = 0;
  float factor = 0;
};

__device__ __forceinline__ void start_stage(const PromptArgs& args, int head, int first,
                                            uint32_t shared) {
  constexpr int kKeyChunks = kKey / 8, kValueChunks = kValue / 8;
#pragma unroll
  for (int i = threadIdx.x; i < kTileTokens * kKeyChunks; i += kThreads) {
    const int token = i / kKeyChunks, chunk = i % kKeyChunks, column = chunk * 8;
    const int64_t at = (first + token) * int64_t{args.of.heads} + head;
    const bool turns = column >= kNope, has = turns || column < args.nope;
    copy_16(shared + tile_offset<kKey>(token, chunk),
            turns ? args.turned_keys + int64_t{first + token} * kLatentTurned + column - kNope
                  : args.keys + at * args.nope + (has ? column : 0),
            has);
  }
#pragma unroll
  for (int i = threadIdx.x; i < kTileTokens * kValueChunks; i += kThreads) {
    const int token = i / kValueChunks, chunk = i % kValueChunks;
    const int64_t at = (first + token) * int64_t{args.of.heads} + head;
    const bool has = chunk * 8 < args.value_dims;
    copy_16(shared + kKeyBytes + tile_offset<kValue>(token, chunk),
            args.values + at * args.value_dims + (has ? chunk * 8 : 0), has);
  }
}

// Blocks: rows, the last ones first, since they see most; heads.
__global__ void __launch_bounds__(kThreads, 1)
    attend_kernel(const __grid_constant__ PromptArgs args) {
  extern __shared__ uint4 shared[];
  let_next_start();
  wait_for_previous();
  const int lane = threadIdx.x % 32, head = blockIdx.y;
  const int block_row = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kBlockRows;
  const int first_row = block_row + static_cast<int>(threadIdx.x) / 32 * 16;
  const int tokens = args.first_position + min(args.rows, block_row + kBlockRows);

  QueryRows<kKey, kValue> rows;
  rows.fill([&](int i, int column) -> uint32_t {
    const int row = first_row + i;
    if (row >= args.rows) return 0;
    const int64_t at = int64_t{row} * args.all_heads + args.of.first_head + head;
    if (column >= kNope) {
      if (column - kNope >= args.turned) return 0;
      return *reinterpret_cast<const uint32_t*>(args.turned_q + at * args.q_pitch + column - kNope);
    }
    if (column >= args.nope) return 0;
    const float2 two =
        *reinterpret_cast<const float2*>(args.q + at * (args.nope + args.turned) + column);
    return half_pair(two.x, two.y);
  });
  const int position = args.first_position + first_row;
  const int limits[2] = {position + lane / 4 + 1, position + lane / 4 + 9};
  const int warp_end = min(tokens, position + 16);  // what no row of the warp sees

  const uint32_t stages = shared_address(shared);
  const int tiles = (tokens + kTileTokens - 1) / kTileTokens;
  start_stage(args, head, 0, stages);
  end_copies();
  for (int t = 0; t < tiles; ++t) {
    if (t + 1 < tiles)
      start_stage(args, head, (t + 1) * kTileTokens, stages + (t + 1) % 2 * kStageBytes);
    end_copies();
    wait_copies<1>();
    __syncthreads();
    if (t * kTileTokens < warp_end && first_row < args.rows)
      rows.attend<kTileTokens>(stages + t % 2 * kStageBytes, 0, t * kTileTokens, limits,
                               args.factor);
    __syncthreads();  // the stage is free
  }

  rows.join_totals();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first_row + lane / 4 + half * 8;
    if (row >= args.rows) continue;
    const float inverse = 1 / rows.total[half];
    uint16_t* out =
        args.out + (int64_t{row} * args.all_heads + args.of.first_head + head) * args.value_dims;
#pragma unroll
    for (int n = 0; n < kValue / 8; ++n) {
      const int column = n * 8 + lane % 4 * 2;
      if (column >= args.value_dims) continue;
      *reinterpret_cast<uint32_t*>(out + column) =
          bf16_pair(rows.out[n][half * 2] * inverse, rows.out[n][half * 2 + 1] * inverse);
    }
  }
}

}  // namespace

void decode_heads(const DeviceStack& matrices, HeadMatrices as, uint16_t* out,
                  cudaStream_t stream) {
  const PackedWeights& first = matrices.first;
  const StackArgs args{first.data,
                       matrices.stride_bytes,
                       device_scales_at(first.type, first.outputs, first.inputs),
                       static_cast<int>(first.outputs),
                       static_cast<int>(first.inputs),
                       reinterpret_cast<__half*>(out)};
  switch (first.type) {
    case core::DType::kQ8_0:
      return launch_decode<core::DType::kQ8_0>(args, matrices.count, as, stream);
    case core::DType::kQ4_0:
      return launch_decode<core::DType::kQ4_0>(args, matrices.count, as, stream);
    case core::DType::kF8_B128:
      return launch_decode<core::DType::kF8_B128>(args, matrices.count, as, stream);
    case core::DType::kQ4_1:
      return launch_decode<core::DType::kQ4_1>(args, matrices.count, as, stream);
    default:
      return launch_decode<core::DType::kBF16>(args, matrices.count, as, stream);
  }
}

void gather_latents(const DeviceLatentArgs& args, const LatentPrompt& prompt,
                    const LatentRoom& room, cudaStream_t stream) {
  const int64_t padded = latent_padded(prompt.tokens);
  launch(
      "latent_gather", gather_kernel,
      {dim3(static_cast<unsigned>(div_ceil(padded * 32, int64_t{kThreads}))), kThreads, 0, stream},
      GatherArgs{args, prompt, static_cast<int>(padded), room});
}

void attend_latent_prompt(const DeviceLatentArgs& args, const LatentPrompt& prompt,
                          const LatentPromptHeads& of, const LatentScratch& scratch,
                          cudaStream_t stream) {
  const int64_t nope = args.k_b.first.inputs, value_dims = args.v_b.first.outputs;
  const int64_t first = int64_t{prompt.first_row} * args.heads;
  constexpr size_t kShared = 2 * kStageBytes;
  allow_shared(attend_kernel, kShared);
  launch("latent_prompt", attend_kernel,
         {dim3(static_cast<unsigned>(div_ceil(prompt.rows, kBlockRows)),
               static_cast<unsigned>(of.heads)),
          kThreads, kShared, stream},
         PromptArgs{
             .of = of,
             .q = args.q + first * (nope + args.rope.dims),
             .turned_q = reinterpret_cast<const __half*>(scratch.queries) +
                         first * args.kv.head_dim + args.kv.latent_rank,
             .q_pitch = args.kv.head_dim,
             .keys = reinterpret_cast<const __half*>(scratch.room.keys),
             .turned_keys = reinterpret_cast<const __half*>(scratch.room.turned),
             .values = reinterpret_cast<const __half*>(scratch.room.values),
             .out = args.out + first * value_dims,
             .rows = prompt.rows,
             .first_position = prompt.tokens - prompt.rows,
             .all_heads = args.heads,
             .nope = static_cast<int>(nope),
             .turned = args.rope.dims,
             .value_dims = static_cast<int>(value_dims),
             .factor = args.scale * kLog2E,
         });
}

}  // namespace sluice::kernels::cuda
