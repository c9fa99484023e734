// Attention of a prompt's rows over pages: a block has up to 128 consecutive rows of a sequence and
// one head, eight warps of 16 rows that share tiles of 64 keys and values, the next tile on its way
// while one is used. Bound by the tensor cores and by reading tiles from shared memory: a warp
// reads 32 KiB for 0.5 MFLOP. Reference: kernels/ref/ref_device.cpp.
#include "kernels/cuda/attention_tile.cuh"

namespace sluice::kernels::cuda {
namespace {

constexpr int kWarps = kPromptTileRows / 16;
constexpr int kThreads = 32 * kWarps;

template <int kDim>
__global__ void __launch_bounds__(kThreads, 1) prompt_kernel(DeviceAttentionArgs args) {
  extern __shared__ uint4 shared[];
  let_next_start();
  wait_for_previous();
  const PromptTile tile = args.tiles[blockIdx.y];
  const int head = blockIdx.x, dim = args.kv.head_dim;
  const int lane = threadIdx.x % 32, first_row = threadIdx.x / 32 * 16;
  const int position = args.rows.positions[tile.first_row];
  const int tokens = position + tile.rows;
  const KeySource source =
      key_source(args, tile.first_row, head / (args.heads / args.kv.kv_heads), tokens);

  QueryRows<kDim> rows;
  const auto offset_of = [&](int i) {
    return (int64_t{tile.first_row + first_row + i} * args.heads + head) * dim;
  };
  rows.load(
      [&](int i) -> const __half* {
        if (first_row + i >= tile.rows) return nullptr;
        return reinterpret_cast<const __half*>(args.q) + offset_of(i);
      },
      dim);
  const int limits[2] = {position + first_row + lane / 4 + 1, position + first_row + lane / 4 + 9};
  const int warp_end = min(tokens, position + first_row + 16);  // what no row of the warp sees

  const uint32_t stages = shared_address(shared);
  const int tiles = (tokens + kTileTokens - 1) / kTileTokens;
  start_tile<kDim, kThreads>(source, 0, stages);
  end_copies();
  for (int t = 0; t < tiles; ++t) {
    if (t + 1 < tiles)
      start_tile<kDim, kThreads>(source, (t + 1) * kTileTokens,
                                 stages + (t + 1) % 2 * kTileBytes<kDim>);
    end_copies();
    wait_copies<1>();
    __syncthreads();
    if (t * kTileTokens < warp_end && first_row < tile.rows)
      rows.template attend<kTileTokens>(stages + t % 2 * kTileBytes<kDim>, 0, t * kTileTokens,
                                        limits, args.scale * kLog2E);
    __syncthreads();  // the stage is free
  }

  rows.join_totals();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int i = lane / 4 + half * 8;
    if (first_row + i >= tile.rows) continue;
    const float inverse = 1 / rows.total[half];
    uint16_t* out = args.out + offset_of(i);
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      const int column = n * 8 + lane % 4 * 2;
      if (column >= dim) continue;
      *reinterpret_cast<uint32_t*>(out + column) =
          bf16_pair(rows.out[n][half * 2] * inverse, rows.out[n][half * 2 + 1] * inverse);
    }
  }
}

template <int kDim>
void launch_prompt(const DeviceAttentionArgs& args, cudaStream_t stream) {
  constexpr size_t kShared = 2 * kTileBytes<kDim>;
  allow_shared(prompt_kernel<kDim>, kShared);
  launch("attention_prompt", prompt_kernel<kDim>,
         {dim3(static_cast<unsigned>(args.heads), static_cast<unsigned>(args.tile_count)), kThreads,
          kShared, stream},
         args);
}

}  // namespace

void attend_prompts(const DeviceAttentionArgs& args, cudaStream_t stream) {
  if (args.tile_count == 0) return;
  if (args.kv.head_dim <= 64)
    launch_prompt<64>(args, stream);
  else if (args.kv.head_dim <= 128)
    launch_prompt<128>(args, stream);
  else
    launch_prompt<256>(args, stream);
}

}  // namespace sluice::kernels::cuda
