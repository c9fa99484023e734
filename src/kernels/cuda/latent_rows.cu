// The row-wise part of latent attention: of queries, what does not turn to bf16 and what turns to
// its place behind; of keys, norm and rotation to the page. A warp has a head's query or a row's
// key. Reference: kernels/ref/ref_device_latent.cpp.
#include "kernels/cuda/latent.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/turn_values.cuh"

namespace sluice::kernels::cuda {
namespace {

constexpr int kWarps = 8;

__device__ void turn_query(const DeviceLatentArgs& args, const LatentScratch& scratch, int64_t row,
                           int head) {
  const int64_t nope = args.k_b.first.inputs, at = row * args.heads + head;
  const float* q = args.q + at * (nope + args.rope.dims);
  auto* out = reinterpret_cast<__nv_bfloat16*>(scratch.q_nope) + at * nope;
  for (int64_t i = threadIdx.x % 32; i < nope; i += 32) out[i] = __float2bfloat16(q[i]);
  turn_values(
      args, row, q + nope,
      reinterpret_cast<__half*>(scratch.queries) + at * args.kv.head_dim + args.kv.latent_rank);
}

__device__ void store_key(const DeviceLatentArgs& args, int64_t row) {
  const int rank = args.kv.latent_rank;
  const float* low = args.kv_low + row * args.kv.head_dim;
  const int32_t position = args.rows.positions[row];
  const int64_t page = args.rows.pages[args.rows.tables[row] + position / kPageTokens];
  auto* out = reinterpret_cast<__half*>(args.kv.base) +
              (page * kPageTokens + position % kPageTokens) * args.kv.head_dim;
  float squares = 0;
  for (int i = threadIdx.x % 32; i < rank; i += 32) squares += low[i] * low[i];
  const float factor = rsqrtf(warp_sum(squares) / static_cast<float>(rank) + args.epsilon);
  for (int i = threadIdx.x % 32; i < rank; i += 32)
    out[i] = __float2half(low[i] * factor * args.norm[i]);
  turn_values(args, row, low + rank, out + rank);
}

__global__ void turn_kernel(const __grid_constant__ DeviceLatentArgs args, LatentScratch scratch) {
  let_next_start();
  wait_for_previous();
  const int64_t unit = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  const int64_t row = unit / (args.heads + 1);
  const int head = static_cast<int>(unit % (args.heads + 1));
  if (row >= args.rows.rows) return;
  if (head < args.heads)
    turn_query(args, scratch, row, head);
  else if (args.rows.tables[row] >= 0)
    store_key(args, row);
}

}  // namespace

void turn_latent(const DeviceLatentArgs& args, const LatentScratch& scratch, cudaStream_t stream) {
  const int64_t units = args.rows.rows * (args.heads + 1);
  launch("latent_rows", turn_kernel,
         {dim3(static_cast<unsigned>(div_ceil(units, int64_t{kWarps}))), 32 * kWarps, 0, stream},
         args, scratch);
}

}  // namespace sluice::kernels::cuda
