// Attention of rows that are alone of their sequence: bound by reading keys and values once. The
// heads of a kv head (up to 16) are the query rows of one tensor core product, so that each key is
// read once for all of them. A block has a part of the sequence's tiles; its four warps take 16
// tokens each of a tile and join at the end. Of several parts the block that ends last joins all:
// no second kernel. Reference: kernels/ref/ref_device.cpp.
#include "kernels/cuda/attention_tile.cuh"

namespace sluice::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kQueries = 16;
constexpr int kSplitsMax = 32;
constexpr int kBlocksWanted = 1024;  // on the card, counting those that find nothing to do

// What a block leaves for the join: sums (kQueries, kDim), largest and total (kQueries).
template <int kDim>
constexpr int kPartFloats = kQueries*(kDim + 2);

// The warps' rows in shared memory, joined; thread t owns columns t, t + kThreads, … of all
// queries.
template <int kDim>
__device__ void join_warps(QueryRows<kDim>& rows, float* joined) {
  extern __shared__ uint4 shared[];
  auto* parts = reinterpret_cast<float*>(shared);  // (kWarps, kPartFloats)
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float* mine = parts + warp * kPartFloats<kDim>;
  rows.join_totals();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int i = lane / 4 + half * 8;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      mine[i * kDim + n * 8 + lane % 4 * 2] = rows.out[n][half * 2];
      mine[i * kDim + n * 8 + lane % 4 * 2 + 1] = rows.out[n][half * 2 + 1];
    }
    if (lane % 4 == 0) {
      mine[kQueries * kDim + i] = rows.largest[half];
      mine[kQueries * (kDim + 1) + i] = rows.total[half];
    }
  }
  __syncthreads();
  for (int at = threadIdx.x; at < kQueries * (kDim + 2); at += kThreads) {
    const int i = at < kQueries * kDim ? at / kDim : at % kQueries;
    float most = -INFINITY;
    for (int w = 0; w < kWarps; ++w)
      most = fmaxf(most, parts[w * kPartFloats<kDim> + kQueries * kDim + i]);
    float sum = 0;
    for (int w = 0; w < kWarps; ++w) {
      const float* part = parts + w * kPartFloats<kDim>;
      const float weight = most == -INFINITY ? 0 : exp2f(part[kQueries * kDim + i] - most);
      sum += weight * part[at];
    }
    const bool is_largest = at >= kQueries * kDim && at < kQueries * (kDim + 1);
    joined[at] = is_largest ? most : sum;
  }
}

struct DecodePlace {
  int32_t row = 0;
  int first_head = 0;  // of the query heads
  int heads = 0;       // at most kQueries
  int kv_head = 0;
};

// Past the first cache: another block has written it.
__device__ float of_other_block(const float* at) {
  return __ldcg(at);
}
__device__ float of_this_block(const float* at) {
  return *at;
}

// Joins `parts` parts, (parts, kPartFloats), into the row's output.
template <int kDim, float (*kLoad)(const float*)>
__device__ void write_out(const DeviceAttentionArgs& args, const DecodePlace& place,
                          const float* from, int parts) {
  const int dim = args.kv.head_dim;
  auto* out = reinterpret_cast<__nv_bfloat16*>(args.out) +
              (int64_t{place.row} * args.heads + place.first_head) * dim;
  for (int at = threadIdx.x; at < place.heads * kDim; at += kThreads) {
    const int i = at / kDim, column = at % kDim;
    if (column >= dim) continue;
    float most = -INFINITY;
    for (int p = 0; p < parts; ++p)
      most = fmaxf(most, kLoad(from + p * kPartFloats<kDim> + kQueries * kDim + i));
    float sum = 0, total = 0;
    for (int p = 0; p < parts; ++p) {
      const float* part = from + p * kPartFloats<kDim>;
      const float weight = exp2f(kLoad(part + kQueries * kDim + i) - most);
      sum += weight * kLoad(part + at);
      total += weight * kLoad(part + kQueries * (kDim + 1) + i);
    }
    out[i * dim + column] = __float2bfloat16(sum / total);
  }
}

template <int kDim>
__global__ void __launch_bounds__(kThreads)
    decode_kernel(DeviceAttentionArgs args, AttentionScratch scratch) {
  extern __shared__ uint4 shared[];
  __shared__ bool is_last;
  wait_for_previous();
  let_next_start();
  const int group = args.heads / args.kv.kv_heads;
  const int shares = (group + kQueries - 1) / kQueries;  // of a kv head's queries
  DecodePlace place;
  place.row = args.single_rows[blockIdx.z];
  if (args.rows.tables[place.row] < 0) return;
  place.kv_head = blockIdx.y / shares;
  const int first = blockIdx.y % shares * kQueries;
  place.first_head = place.kv_head * group + first;
  place.heads = min(kQueries, group - first);

  const int tokens = args.rows.positions[place.row] + 1, dim = args.kv.head_dim;
  const int tiles = (tokens + kTileTokens - 1) / kTileTokens;
  const int per_split = (tiles + gridDim.x - 1) / gridDim.x;
  const int parts = (tiles + per_split - 1) / per_split;
  const int begin = blockIdx.x * per_split, end = min(tiles, begin + per_split);
  if (begin >= tiles) return;

  const KeySource source = key_source(args, place.row, place.kv_head, tokens);
  QueryRows<kDim> rows;
  rows.load(
      [&](int i) -> const __half* {
        if (i >= place.heads) return nullptr;
        return reinterpret_cast<const __half*>(args.q) +
               (int64_t{place.row} * args.heads + place.first_head + i) * dim;
      },
      dim);
  const int limits[2] = {tokens, tokens};
  const uint32_t stages = shared_address(shared);
  const int own = threadIdx.x / 32 * (kTileTokens / kWarps);
  start_tile<kDim, kThreads>(source, begin * kTileTokens, stages);
  end_copies();
  for (int t = begin; t < end; ++t) {
    if (t + 1 < end)
      start_tile<kDim, kThreads>(source, (t + 1) * kTileTokens,
                                 stages + (t + 1 - begin) % 2 * kTileBytes<kDim>);
    end_copies();
    wait_copies<1>();
    __syncthreads();
    rows.template attend<kTileTokens / kWarps>(stages + (t - begin) % 2 * kTileBytes<kDim>, own,
                                               t * kTileTokens + own, limits, args.scale * kLog2E);
    __syncthreads();
  }

  const int64_t sequence = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  auto* joined = reinterpret_cast<float*>(shared) + kWarps * kPartFloats<kDim>;
  join_warps(rows, joined);
  __syncthreads();
  if (parts == 1) return write_out<kDim, of_this_block>(args, place, joined, 1);

  float* all = scratch.parts + sequence * gridDim.x * kPartFloats<kDim>;
  for (int at = threadIdx.x; at < kPartFloats<kDim>; at += kThreads)
    __stcg(all + blockIdx.x * kPartFloats<kDim> + at, joined[at]);
  __threadfence();
  __syncthreads();
  // The counter is zero again when the last one came.
  if (threadIdx.x == 0)
    is_last = atomicInc(scratch.counters + sequence, static_cast<unsigned>(parts - 1)) ==
              static_cast<unsigned>(parts - 1);
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  write_out<kDim, of_other_block>(args, place, all, parts);
}

template <int kDim>
void launch_decode(const DeviceAttentionArgs& args, const AttentionScratch& scratch,
                   cudaStream_t stream) {
  constexpr size_t kTiles = 2 * kTileBytes<kDim>;
  constexpr size_t kJoin = (kWarps + 1) * kPartFloats<kDim> * sizeof(float);
  constexpr size_t kShared = kTiles > kJoin ? kTiles : kJoin;
  allow_shared(decode_kernel<kDim>, kShared);
  const int group = args.heads / args.kv.kv_heads;
  const int columns = args.kv.kv_heads * ((group + kQueries - 1) / kQueries);
  const int blocks = columns * args.singles;
  const int splits = blocks >= kBlocksWanted ? 1 : (kBlocksWanted + blocks - 1) / blocks;
  launch("attention_decode", decode_kernel<kDim>,
         {dim3(static_cast<unsigned>(splits < kSplitsMax ? splits : kSplitsMax),
               static_cast<unsigned>(columns), static_cast<unsigned>(args.singles)),
          kThreads, kShared, stream},
         args, scratch);
}

// Blocks that leave parts are fewer than twice those wanted.
static_assert(kAttentionPartsMax >= 2 * kBlocksWanted);

int padded_dim(int32_t head_dim) {
  return head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : 256;
}

}  // namespace

int64_t attention_scratch_bytes(int32_t head_dim) {
  return kAttentionPartsMax * kQueries * (padded_dim(head_dim) + 2) * int64_t{sizeof(float)};
}

void attend_singles(const DeviceAttentionArgs& args, const AttentionScratch& scratch,
                    cudaStream_t stream) {
  if (args.singles == 0) return;
  if (args.kv.head_dim <= 64)
    launch_decode<64>(args, scratch, stream);
  else if (args.kv.head_dim <= 128)
    launch_decode<128>(args, scratch, stream);
  else
    launch_decode<256>(args, scratch, stream);
}

}  // namespace sluice::kernels::cuda
