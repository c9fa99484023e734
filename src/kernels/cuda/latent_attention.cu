// Absorbed latent attention: all heads of a row share the rows of the cache, which are keys and
// values at once. A block has 64 heads of a row and a part of its tokens, in tiles of 64; of its
// eight warps, four have 16 heads each for the first half of a tile's scores and of the latent
// dimensions, four for the second: weights meet in shared memory. Bound by the tensor cores and by
// shared memory where a step has many rows, by latency where it has few. Parts of a sequence are
// joined by a second kernel; of few rows by Q8_0 by latent_few.cu. Reference:
// kernels/ref/ref_device_latent.cpp.
//
// Shared memory: queries (64, kRow), one or two tiles (64, kRow; card.h), weights (64, 64), f16;
// largest and total (2, 64) float. Chunks of 16 bytes are permuted by the row's low three bits, so
// that the eight rows that an ldmatrix reads lie in different banks.
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/latent_parts.cuh"

namespace sluice::kernels::cuda {
namespace {

constexpr int kRank = kLatentRank;
constexpr int kRow = kRank + kDeviceLatentTurnedMax;
constexpr int kHeads = kLatentHeads;
constexpr int kTokens = kLatentTokens;
constexpr int kThreads = 256;
constexpr int kRowBytes = kRow * 2;
constexpr int kBlockBytes = 64 * kRowBytes;  // of queries or a tile
constexpr int kTiles = kCard.latent_tiles;
constexpr int kWeightsAt = (1 + kTiles) * kBlockBytes;
constexpr int kLargestAt = kWeightsAt + kHeads * kTokens * 2;
constexpr int kTotalAt = kLargestAt + 2 * kHeads * int{sizeof(float)};
constexpr int64_t shared_bytes(int latent_tiles) {
  return (1 + latent_tiles) * kBlockBytes + kHeads * kTokens * 2 +
         4 * kHeads * int64_t{sizeof(float)};
}
static_assert(shared_bytes(kTiles) == kTotalAt + 2 * kHeads * int{sizeof(float)} &&
              shared_bytes(kTiles) <= kCard.shared_bytes_max);
static_assert(kHeads == 64 && kTokens == 64 && kRowBytes % 128 == 0);

constexpr int kAlikeTilesMin = 8;  // of a part, where parts follow from a row's tokens
constexpr int64_t kBlocksWanted = 264;
constexpr int kJoinThreads = kRank / 4;

__device__ __forceinline__ int row_offset(int row, int chunk) {
  return row * kRowBytes + ((chunk ^ (row & 7)) * 16);
}
__device__ __forceinline__ int weight_offset(int head, int chunk) {
  return head * kTokens * 2 + ((chunk ^ (head & 7)) * 16);
}

// Copies 64 rows of `rank` and `turned` values; what is behind either becomes zero. row_at(i): row
// i, or null where there is none; `readable` is an address for what is not copied.
template <typename RowAt>
__device__ void start_rows(uint32_t shared, const KvLayer& kv, const RowAt& row_at,
                           const void* readable) {
  constexpr int kChunks = kRow / 8;
  const int rank = kv.latent_rank, turned = kv.head_dim - kv.latent_rank;
  for (int i = threadIdx.x; i < 64 * kChunks; i += kThreads) {
    const int row = i / kChunks, chunk = i % kChunks;
    const bool is_turned = chunk * 8 >= kRank;
    const int column = is_turned ? chunk * 8 - kRank : chunk * 8;
    const __half* from = row_at(row);
    const bool has = from != nullptr && column < (is_turned ? turned : rank);
    copy_16(shared + row_offset(row, chunk),
            has ? from + (is_turned ? rank : 0) + column : readable, has);
  }
}

struct LatentPlace {
  int64_t row = 0;
  int first_head = 0;
  int heads = 0;  // at most kHeads
  int tokens = 0;
};

__device__ void start_tile_of(const DeviceLatentArgs& args, const LatentPlace& place, int tile,
                              uint32_t shared) {
  const int32_t* pages = args.rows.pages + args.rows.tables[place.row];
  const auto* base = reinterpret_cast<const __half*>(args.kv.base);
  start_rows(
      shared, args.kv,
      [&](int i) -> const __half* {
        const int position = tile * kTokens + i;
        if (position >= place.tokens) return nullptr;
        const int64_t at = int64_t{pages[position / kPageTokens]} * kPageTokens;
        return base + (at + position % kPageTokens) * args.kv.head_dim;
      },
      base);
}

// A warp's 16 heads: over half of a tile's tokens while there are scores, over half of the latent
// dimensions while there are sums.
struct WarpHeads {
  float sums[kRank / 16][4] = {};
  float largest[2] = {-INFINITY, -INFINITY};  // rows lane / 4 and lane / 4 + 8
  float total[2] = {};                        // of this thread's columns
  int first = 0;                              // head in the block
  int half = 0;

  __device__ void score(uint32_t shared, uint32_t tile, float (&scores)[4][4]) const {
    const int lane = threadIdx.x % 32;
#pragma unroll 4
    for (int k = 0; k < kRow / 16; ++k) {
      uint32_t q[4];
      load_matrices(q, shared + row_offset(first + lane % 16, k * 2 + lane / 16));
#pragma unroll
      for (int n = 0; n < 4; n += 2) {
        uint32_t keys[4];
        const int token = half * 32 + n * 8 + lane / 16 * 8 + lane % 8;
        load_matrices(keys, tile + row_offset(token, k * 2 + lane / 8 % 2));
        multiply_add(scores[n], q, keys[0], keys[1]);
        multiply_add(scores[n + 1], q, keys[2], keys[3]);
      }
    }
  }

  // Leaves the largest of this half; tokens from `limit` on are not seen.
  __device__ void mask(float (&scores)[4][4], int first_token, int limit, float factor,
                       float* largest_of) const {
    const int lane = threadIdx.x % 32;
    float most[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int token = first_token + half * 32 + n * 8 + lane % 4 * 2 + i % 2;
        scores[n][i] = token < limit ? scores[n][i] * factor : -INFINITY;
        most[i / 2] = fmaxf(most[i / 2], scores[n][i]);
      }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      most[r] = fmaxf(most[r], __shfl_xor_sync(0xffffffffu, most[r], 1));
      most[r] = fmaxf(most[r], __shfl_xor_sync(0xffffffffu, most[r], 2));
      if (lane % 4 == 0) largest_of[half * kHeads + first + lane / 4 + r * 8] = most[r];
    }
  }

  // Scores become weights relative to the largest so far, what was summed before is scaled to it.
  __device__ void weigh(const float (&scores)[4][4], std::byte* weights, const float* largest_of) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int head = first + lane / 4 + r * 8;
      const float most = fmaxf(largest[r], fmaxf(largest_of[head], largest_of[kHeads + head]));
      const float base = most == -INFINITY ? 0 : most;
      const float kept = exp2f(largest[r] - base);
      largest[r] = most;
      float sum = 0;
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const float a = exp2f(scores[n][r * 2] - base), b = exp2f(scores[n][r * 2 + 1] - base);
        sum += a + b;
        *reinterpret_cast<uint32_t*>(weights + weight_offset(head, half * 4 + n) + lane % 4 * 4) =
            half_pair(a, b);
      }
      total[r] = total[r] * kept + sum;
#pragma unroll
      for (int d = 0; d < kRank / 16; ++d) {
        sums[d][r * 2] *= kept;
        sums[d][r * 2 + 1] *= kept;
      }
    }
  }

  __device__ void add_values(uint32_t weights, uint32_t tile) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < kTokens / 16; ++k) {
      uint32_t w[4];
      load_matrices(w, weights + weight_offset(first + lane % 16, k * 2 + lane / 16));
      const int token = k * 16 + lane / 8 % 2 * 8 + lane % 8;
#pragma unroll
      for (int d = 0; d < kRank / 16; d += 2) {
        uint32_t values[4];
        load_matrices_turned(values, tile + row_offset(token, half * (kRank / 16) + d + lane / 16));
        multiply_add(sums[d], w, values[0], values[1]);
        multiply_add(sums[d + 1], w, values[2], values[3]);
      }
    }
  }
};

// Of a block with all of the row's tokens: its result. Of others: a part.
__device__ void store_heads(const DeviceLatentArgs& args, const LatentPlace& place,
                            const WarpHeads& heads, const float* totals, float* part,
                            uint16_t* out) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int head = heads.first + lane / 4 + r * 8;
    if (head >= place.heads) continue;
    const float total = totals[head] + totals[kHeads + head];
    const int64_t at = (place.row * args.heads + place.first_head + head) * args.kv.latent_rank;
#pragma unroll
    for (int d = 0; d < kRank / 16; ++d) {
      const int column = heads.half * (kRank / 2) + d * 8 + lane % 4 * 2;
      const float a = heads.sums[d][r * 2], b = heads.sums[d][r * 2 + 1];
      if (part != nullptr)
        *reinterpret_cast<float2*>(part + head * kRank + column) = {a, b};
      else if (column < args.kv.latent_rank)
        *reinterpret_cast<uint32_t*>(out + at + column) = bf16_pair(a / total, b / total);
    }
    if (part != nullptr && heads.half == 0 && lane % 4 == 0) {
      part[kHeads * kRank + head] = heads.largest[r];
      part[kHeads * (kRank + 1) + head] = total;
    }
  }
}

// Blocks: parts that a row may have, 64 heads each, rows.
__global__ void __launch_bounds__(kThreads, 1)
    latent_kernel(const __grid_constant__ DeviceLatentArgs args, LatentScratch scratch,
                  LatentSplits rule) {
  extern __shared__ uint4 shared[];
  let_next_start();
  wait_for_previous();
  LatentPlace place;
  place.row = blockIdx.z;
  if (args.rows.tables[place.row] < 0) return;
  place.first_head = blockIdx.y * kHeads;
  place.heads = min(kHeads, args.heads - place.first_head);
  place.tokens = args.rows.positions[place.row] + 1;
  const LatentSplit split = split_of(place.tokens, blockIdx.x, rule);
  if (split.begin >= split.end) return;

  auto* base = reinterpret_cast<std::byte*>(shared);
  const uint32_t queries = shared_address(shared), tiles = queries + kBlockBytes;
  auto* largest_of = reinterpret_cast<float*>(base + kLargestAt);
  auto* totals = reinterpret_cast<float*>(base + kTotalAt);
  const auto* q = reinterpret_cast<const __half*>(scratch.queries);
  start_rows(
      queries, args.kv,
      [&](int i) -> const __half* {
        if (i >= place.heads) return nullptr;
        return q + (place.row * args.heads + place.first_head + i) * args.kv.head_dim;
      },
      q);
  start_tile_of(args, place, split.begin, tiles);
  end_copies();

  WarpHeads heads;
  heads.first = threadIdx.x / 32 % 4 * 16;
  heads.half = threadIdx.x / 128;
  const auto tile_at = [&](int t) { return tiles + (t - split.begin) % kTiles * kBlockBytes; };
  const auto start = [&](int t) {
    if (t < split.end) start_tile_of(args, place, t, tile_at(t));
    end_copies();
  };
  for (int t = split.begin; t < split.end; ++t) {
    const uint32_t tile = tile_at(t);
    wait_copies<0>();
    __syncthreads();  // the tile is there, the other one is free
    if constexpr (kTiles > 1) start(t + 1);
    float scores[4][4] = {};
    heads.score(queries, tile, scores);
    heads.mask(scores, t * kTokens, place.tokens, args.scale * kLog2E, largest_of);
    __syncthreads();
    heads.weigh(scores, base + kWeightsAt, largest_of);
    __syncthreads();
    heads.add_values(queries + kWeightsAt, tile);
    if constexpr (kTiles == 1) {
      __syncthreads();  // it is free
      start(t + 1);
    }
  }

  for (int r = 0; r < 2; ++r) {
    float total = heads.total[r];
    total += __shfl_xor_sync(0xffffffffu, total, 1);
    total += __shfl_xor_sync(0xffffffffu, total, 2);
    if (threadIdx.x % 4 == 0)
      totals[heads.half * kHeads + heads.first + threadIdx.x % 32 / 4 + r * 8] = total;
  }
  __syncthreads();
  const int64_t block = (place.row * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  store_heads(args, place, heads, totals,
              split.parts > 1 ? scratch.parts + block * kLatentPartFloats : nullptr,
              scratch.attended);
}

// Blocks: heads, rows. A thread has four columns, so that all parts are on their way at once.
__global__ void __launch_bounds__(kJoinThreads)
    join_kernel(const __grid_constant__ DeviceLatentArgs args, LatentScratch scratch,
                LatentSplits rule) {
  __shared__ float weights[kLatentSplitsMax];
  let_next_start();
  wait_for_previous();
  const int64_t row = blockIdx.y;
  const int head = blockIdx.x;
  if (args.rows.tables[row] < 0) return;
  const LatentParts from = parts_of(args.rows, row, head, args.heads, rule, scratch.parts);
  if (from.parts == 1) return;
  if (threadIdx.x < 32) weigh_parts(from, weights);
  __syncthreads();
  const int column = static_cast<int>(threadIdx.x) * 4;
  if (column >= args.kv.latent_rank) return;
  float4 sum = {};
#pragma unroll 8
  for (int p = 0; p < from.parts; ++p) {
    const auto part =
        *reinterpret_cast<const float4*>(from.sums + int64_t{p} * kLatentPartFloats + column);
    sum = {fmaf(weights[p], part.x, sum.x), fmaf(weights[p], part.y, sum.y),
           fmaf(weights[p], part.z, sum.z), fmaf(weights[p], part.w, sum.w)};
  }
  auto* out = reinterpret_cast<uint2*>(scratch.attended +
                                       (row * args.heads + head) * args.kv.latent_rank + column);
  *out = {bf16_pair(sum.x, sum.y), bf16_pair(sum.z, sum.w)};
}

void attend_parts(const DeviceLatentArgs& args, const LatentScratch& scratch,
                  const LatentSplits& rule, cudaStream_t stream) {
  const auto bytes = static_cast<size_t>(shared_bytes(card().latent_tiles));
  allow_shared(latent_kernel, bytes);
  launch(
      "latent_attention", latent_kernel,
      {dim3(static_cast<unsigned>(rule.places), static_cast<unsigned>(div_ceil(args.heads, kHeads)),
            static_cast<unsigned>(args.rows.rows)),
       kThreads, bytes, stream},
      args, scratch, rule);
}

void join(const DeviceLatentArgs& args, const LatentScratch& scratch, const LatentSplits& rule,
          cudaStream_t stream) {
  if (rule.places == 1) return;
  launch("latent_join", join_kernel,
         {dim3(static_cast<unsigned>(args.heads), static_cast<unsigned>(args.rows.rows)),
          kJoinThreads, 0, stream},
         args, scratch, rule);
}

}  // namespace

int64_t latent_part_floats() {
  return 2 * kBlocksWanted * kLatentPartFloats;
}

LatentRows latent_rows(const DeviceLatentArgs& args, const LatentScratch& scratch, int64_t begin,
                       int64_t end) {
  const int64_t first = begin * args.heads;
  LatentRows rows{args, scratch};
  rows.args.rows.rows = end - begin;
  rows.args.rows.positions += begin;
  rows.args.rows.tables += begin;
  rows.args.out += first * args.v_b.first.outputs;
  rows.scratch.q_nope += first * args.k_b.first.inputs;
  rows.scratch.queries += first * args.kv.head_dim;
  rows.scratch.attended += first * args.kv.latent_rank;
  return rows;
}

LatentSplits attend_latent_parts(const DeviceLatentArgs& args, const LatentScratch& scratch,
                                 cudaStream_t stream) {
  const int64_t blocks = div_ceil(args.heads, kHeads) * args.rows.rows;
  int64_t splits = blocks >= kBlocksWanted ? 1 : div_ceil(kBlocksWanted, blocks);
  if (splits > kLatentSplitsMax) splits = kLatentSplitsMax;
  const LatentSplits rule{.splits = static_cast<int>(splits), .places = static_cast<int>(splits)};
  attend_parts(args, scratch, rule, stream);
  return rule;
}

void attend_latent(const DeviceLatentArgs& args, const LatentScratch& scratch,
                   cudaStream_t stream) {
  join(args, scratch, attend_latent_parts(args, scratch, stream), stream);
}

void attend_latent_alike(const DeviceLatentArgs& args, int64_t tokens_max,
                         const LatentScratch& scratch, cudaStream_t stream) {
  int64_t places = div_ceil(tokens_max, int64_t{kTokens} * kAlikeTilesMin);
  if (places > kLatentSplitsMax) places = kLatentSplitsMax;
  const int64_t of_row = div_ceil(args.heads, kHeads) * places * kLatentPartFloats;
  const int64_t rows_max = kLatentRoomBytes / int64_t{sizeof(float)} / of_row;
  for (int64_t first = 0; first < args.rows.rows; first += rows_max) {
    const int64_t left = args.rows.rows - first;
    const LatentRows rows =
        latent_rows(args, scratch, first, first + (left < rows_max ? left : rows_max));
    const LatentSplits rule{kLatentSplitsMax, kAlikeTilesMin, static_cast<int>(places)};
    attend_parts(rows.args, rows.scratch, rule, stream);
    join(rows.args, rows.scratch, rule, stream);
  }
}

}  // namespace sluice::kernels::cuda
