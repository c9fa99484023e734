// Attention of rows that are alone of their sequence: bound by reading keys and values once. The
// heads of a kv head (up to 8) are the columns of one tensor core product, whose rows are tokens,
// so that each key is read once for all of them. A block has a part of the sequence's tiles; its
// four warps take 16 tokens each of a tile, which each copies for itself and ahead of its products,
// and join at the end. Of several parts the block that ends last joins all: no second kernel.
// Reference: kernels/ref/ref_device.cpp.
#include <algorithm>
#include <type_traits>

#include "kernels/cuda/attention_ring.cuh"
#include "kernels/cuda/tensor_map.cuh"

namespace sluice::kernels::cuda {
namespace {

constexpr int kWarps = kRingWarps;
constexpr int kThreads = 32 * kWarps;
constexpr int kQueries = 8;
constexpr int kSplitsMax = 16;
constexpr int kPartTilesMin = 2;  // joining parts costs more than another tile

// What a block leaves for the join: sums (kQueries, kDim), largest and total (kQueries).
template <int kDim>
constexpr int kPartFloats = kQueries*(kDim + 2);

struct DecodePlace {
  int32_t row = 0;
  int first_head = 0;  // of the query heads
  int heads = 0;       // at most kQueries
  int kv_head = 0;
};

// Largest and total of a query's weights.
struct Weighed {
  float largest[kQueries];
  float total[kQueries];
};
__device__ __forceinline__ float weight_of(float largest, float of_all) {
  return largest == -INFINITY ? 0 : exp2f(largest - of_all);
}

// Joins what the warps have of a block's queries.
template <int kDim>
struct WarpJoin {
  static constexpr int kPitch = kDim + 4;  // rows that a warp stores lie in different banks
  static constexpr int kSums = kQueries * kPitch;
  static constexpr size_t kBytes = kWarps * kSums * sizeof(float);

  Weighed of_warps[kWarps];
  Weighed all;

  // Leaves every warp's sums, relative to the largest of all, in `sums` (kWarps, kSums), which may
  // be the rings' memory.
  __device__ void join(QueryColumns<kDim>& columns, float* sums) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, first = lane % 4 * 2;
    columns.join_totals();
    if (lane < 4)
#pragma unroll
      for (int more = 0; more < 2; ++more) {
        of_warps[warp].largest[first + more] = columns.largest[more];
        of_warps[warp].total[first + more] = columns.total[more];
      }
    __syncthreads();
    float largest[2];
#pragma unroll
    for (int more = 0; more < 2; ++more) {
      largest[more] = -INFINITY;
#pragma unroll
      for (int w = 0; w < kWarps; ++w)
        largest[more] = fmaxf(largest[more], of_warps[w].largest[first + more]);
    }
    if (threadIdx.x < 4)
#pragma unroll
      for (int more = 0; more < 2; ++more) {
        float total = 0;
#pragma unroll
        for (int w = 0; w < kWarps; ++w)
          total += of_warps[w].total[first + more] *
                   weight_of(of_warps[w].largest[first + more], largest[more]);
        all.largest[first + more] = largest[more];
        all.total[first + more] = total;
      }
#pragma unroll
    for (int more = 0; more < 2; ++more) {
      const float weight = weight_of(columns.largest[more], largest[more]);
      float* to = sums + warp * kSums + (first + more) * kPitch + lane / 4;
#pragma unroll
      for (int n = 0; n < kDim / 16; ++n) {
        to[n * 16] = columns.out[n][more] * weight;
        to[n * 16 + 8] = columns.out[n][2 + more] * weight;
      }
    }
    __syncthreads();
  }
  // Four columns of a query, of all warps.
  static __device__ __forceinline__ float4 sum_of(const float* sums, int query, int column) {
    float4 sum{0, 0, 0, 0};
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float4 v = *reinterpret_cast<const float4*>(sums + w * kSums + query * kPitch + column);
      sum = {sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w};
    }
    return sum;
  }
};

// Calls take(query, column) for each four columns of `heads` queries, by all threads.
template <int kDim, typename Take>
__device__ __forceinline__ void for_columns(int heads, const Take& take) {
#pragma unroll 1
  for (int at = threadIdx.x; at < heads * (kDim / 4); at += kThreads)
    take(at / (kDim / 4), at % (kDim / 4) * 4);
}

// Four columns of a query's output.
__device__ __forceinline__ void write_out(const DeviceAttentionArgs& args, const DecodePlace& place,
                                          int query, int column, const float4& sum) {
  const int dim = args.kv.head_dim;
  if (column >= dim) return;
  uint16_t* out =
      args.out + ((int64_t{place.row} * args.heads + place.first_head + query) * dim + column);
  *reinterpret_cast<uint2*>(out) = {bf16_pair(sum.x, sum.y), bf16_pair(sum.z, sum.w)};
}
__device__ __forceinline__ float4 scaled(const float4& v, float factor) {
  return {v.x * factor, v.y * factor, v.z * factor, v.w * factor};
}

// Joins `parts` parts, which other blocks have written, into the row's output. All that a thread
// reads is on its way at once, but for the weights of the parts.
struct PartJoin {
  float largest[kSplitsMax][kQueries];
  float total[kSplitsMax][kQueries];
};
template <int kDim>
__device__ __forceinline__ void join_parts(const DeviceAttentionArgs& args,
                                           const DecodePlace& place, const float* from, int parts,
                                           PartJoin& shared) {
  static_assert(kSplitsMax * kQueries <= kThreads);
  const int part = threadIdx.x / kQueries, query = threadIdx.x % kQueries;
  const bool has = part < parts && query < place.heads;
  if (has) {
    const float* at = from + part * kPartFloats<kDim> + kQueries * kDim + query;
    shared.largest[part][query] = __ldcg(at);
    shared.total[part][query] = __ldcg(at + kQueries);
  }
  __syncthreads();
  float weight = 0;
  if (has) {
    float largest = -INFINITY, total = 0;
    for (int p = 0; p < parts; ++p) largest = fmaxf(largest, shared.largest[p][query]);
    for (int p = 0; p < parts; ++p)
      total += shared.total[p][query] * weight_of(shared.largest[p][query], largest);
    weight = weight_of(shared.largest[part][query], largest) / total;
  }
  __syncthreads();
  if (has) shared.total[part][query] = weight;
  __syncthreads();
  for_columns<kDim>(place.heads, [&](int query, int column) {
    float4 sum{0, 0, 0, 0};
#pragma unroll 4
    for (int p = 0; p < parts; ++p) {
      const float4 v = __ldcg(
          reinterpret_cast<const float4*>(from + p * kPartFloats<kDim> + query * kDim + column));
      const float weight = shared.total[p][query];
      sum.x += v.x * weight;
      sum.y += v.y * weight;
      sum.z += v.z * weight;
      sum.w += v.w * weight;
    }
    write_out(args, place, query, column, sum);
  });
}

struct DecodeArgs {
  CUtensorMap keys;  // and values, of the layer: rows of head_dim
  DeviceAttentionArgs attention;
  DeviceTurnArgs turn;  // of kTurns
  AttentionScratch scratch;
  int32_t group = 0;   // query heads of a kv head
  int32_t shares = 0;  // of them, each of one block
};

// Which tiles of a row's sequence a block has, of the parts that all blocks of the row make.
struct DecodeTiles {
  int begin = 0;
  int end = 0;
  int parts = 0;
};
__device__ __forceinline__ DecodeTiles tiles_of(int tokens) {
  const int tiles = (tokens + kTileTokens - 1) / kTileTokens;
  const int splits = static_cast<int>(gridDim.x);
  const int per_part =
      tiles <= kPartTilesMin * splits ? kPartTilesMin : (tiles + splits - 1) / splits;
  const int begin = blockIdx.x * per_part;
  return {begin, min(tiles, begin + per_part), (tiles + per_part - 1) / per_part};
}

// What turn() does, for the heads of one block: queries stay in shared memory, and so do the key
// and value of the row, which the block of the last tile also stores.
template <int kDim>
struct TurnedRow {
  static constexpr int kLaneValues = kDim / 32;
  static constexpr int kPitch = kDim + 8;  // queries lie in different banks
  static constexpr int kUnits = (2 + kQueries + kWarps - 1) / kWarps;  // of a warp

  float2 rotation[kDim / 2];
  alignas(16) __half queries[kQueries][kPitch];
  alignas(16) __half fresh[2][kDim];  // key, value
  float values[kWarps][kDim];

  static __device__ __forceinline__ float frequency(const DeviceTurnArgs& args) {
    static_assert(kDim / 2 <= kThreads);
    const auto pair = static_cast<int>(threadIdx.x);
    return pair < args.rope.dims / 2 ? args.rope.frequencies[pair] : 0;
  }
  // By what this thread's pair turns.
  __device__ __forceinline__ void rotate(const DeviceTurnArgs& args, int32_t position,
                                         float frequency) {
    if (static_cast<int>(threadIdx.x) < args.rope.dims / 2) {
      float sine, cosine;
      sincosf(static_cast<float>(position) * frequency, &sine, &cosine);
      rotation[threadIdx.x] = {cosine * args.rope.magnitude, sine * args.rope.magnitude};
    }
    __syncthreads();
  }

  // Heads of the block: the key, the value, then queries, of which each warp has every fourth. All
  // that it reads is on its way at once.
  __device__ __forceinline__ void turn(const DeviceTurnArgs& args, const DecodePlace& place,
                                       bool has_last) {
    const int lane = threadIdx.x % 32, dim = args.kv.head_dim;
    const int first = (has_last ? 0 : 2) + static_cast<int>(threadIdx.x) / 32;
    const int64_t kv_at = (int64_t{place.row} * args.kv.kv_heads + place.kv_head) * dim;
    const float* queries_from =
        args.q.x + (int64_t{place.row} * args.q.heads + place.first_head) * dim;
    float x[kUnits][kLaneValues];
#pragma unroll
    for (int n = 0; n < kUnits; ++n) {
      const int unit = first + n * kWarps;
      const float* from = unit == 0   ? args.k.x + kv_at
                          : unit == 1 ? args.v + kv_at
                                      : queries_from + (unit - 2) * dim;
#pragma unroll
      for (int i = 0; i < kLaneValues; ++i) {
        const int d = lane + i * 32;
        x[n][i] = unit < place.heads + 2 && d < dim ? from[d] : 0;
      }
    }
#pragma unroll
    for (int n = 0; n < kUnits; ++n) {
      const int unit = first + n * kWarps;
      if (unit >= place.heads + 2) break;
      turn_head(args, place, unit, x[n]);
    }
    __syncthreads();
  }
  __device__ __forceinline__ void turn_head(const DeviceTurnArgs& args, const DecodePlace& place,
                                            int unit, float (&x)[kLaneValues]) {
    const int lane = threadIdx.x % 32, dim = args.kv.head_dim;
    const bool is_query = unit >= 2;
    const float* bias = is_query ? args.q.bias : unit == 0 ? args.k.bias : args.v_bias;
    const int head = is_query ? place.first_head + unit - 2 : place.kv_head;
    if (bias != nullptr)
#pragma unroll
      for (int i = 0; i < kLaneValues; ++i)
        if (lane + i * 32 < dim) x[i] += bias[head * dim + lane + i * 32];
    if (unit == 1) {
#pragma unroll
      for (int i = 0; i < kLaneValues; ++i)
        if (lane + i * 32 < dim) fresh[1][lane + i * 32] = __float2half(x[i]);
      return;
    }
    const float* norm = is_query ? args.q.norm : args.k.norm;
    if (norm != nullptr) {
      float squares = 0;
#pragma unroll
      for (const float value : x) squares += value * value;
      const float factor = rsqrtf(warp_sum(squares) / static_cast<float>(dim) + args.epsilon);
#pragma unroll
      for (int i = 0; i < kLaneValues; ++i)
        if (lane + i * 32 < dim) x[i] = x[i] * factor * norm[lane + i * 32];
    }
    float* mine = values[threadIdx.x / 32];
    __half* out = is_query ? queries[unit - 2] : fresh[0];
#pragma unroll
    for (int i = 0; i < kLaneValues; ++i) mine[lane + i * 32] = x[i];
    __syncwarp();
    const int pairs = args.rope.dims / 2;
    const bool adjacent = args.rope.layout == RopeLayout::kAdjacentPairs;
#pragma unroll
    for (int n = 0; n < kDim / 64; ++n) {
      const int i = lane + n * 32;
      if (i >= pairs) break;
      const float2 turn = rotation[i];
      const int one = adjacent ? 2 * i : i, two = adjacent ? 2 * i + 1 : i + pairs;
      const float a = mine[one], b = mine[two];
      out[one] = __float2half(a * turn.x - b * turn.y);
      out[two] = __float2half(a * turn.y + b * turn.x);
    }
#pragma unroll 1
    for (int d = args.rope.dims + lane; d < dim; d += 32) out[d] = __float2half(mine[d]);
    __syncwarp();  // another head may take `values`
  }
  // The row's key and value to their page.
  __device__ __forceinline__ void store(const DeviceTurnArgs& args, const DecodePlace& place,
                                        int32_t page, int32_t position) const {
    const int dim = args.kv.head_dim;
    const int64_t side = int64_t{args.kv.kv_heads} * kPageTokens * dim;
    auto* to = reinterpret_cast<__half*>(args.kv.base) + page * 2 * side +
               (int64_t{place.kv_head} * kPageTokens + position % kPageTokens) * dim;
    const int d = static_cast<int>(threadIdx.x) * 8, chunks = dim / 8;
    if (static_cast<int>(threadIdx.x) < chunks)
      *reinterpret_cast<uint4*>(to + d) = *reinterpret_cast<const uint4*>(&fresh[0][d]);
    else if (static_cast<int>(threadIdx.x) < 2 * chunks)
      *reinterpret_cast<uint4*>(to + side + d - dim) =
          *reinterpret_cast<const uint4*>(&fresh[1][d - dim]);
  }
  // Key or value to its place among the tokens of a warp, which were copied without it.
  __device__ void put(uint32_t unit, int side, int token, int dim) const {
    for (int chunk = threadIdx.x % 32; chunk < dim / 8; chunk += 32)
      store_shared(unit + unit_offset(token, chunk / 2, chunk % 2),
                   *reinterpret_cast<const uint4*>(&fresh[side][chunk * 8]));
    __syncwarp();
  }
};

// Zeros for a warp's tokens from `first` on: a page's memory behind its last token may hold
// anything.
template <int kDim>
__device__ __forceinline__ void clear_tokens(uint32_t unit, int first) {
#pragma unroll 1
  for (int i = first * (kDim / 8) + static_cast<int>(threadIdx.x) % 32; i < kOwnTokens * (kDim / 8);
       i += 32)
    store_shared(unit + unit_offset(i / (kDim / 8), i % (kDim / 8) / 2, i % 2), uint4{0, 0, 0, 0});
  __syncwarp();
}

// Blocks that a multiprocessor has at once: registers and shared memory allow as many.
template <int kDim>
constexpr int kBlocksAtOnce = kDim == 256 ? 1 : 4;

// kTurns: with turn() before it. Keys of earlier steps are on their way before the op before has
// ended.
template <int kDim, bool kTurns>
__global__ void __launch_bounds__(kThreads, kBlocksAtOnce<kDim>)
    decode_kernel(const __grid_constant__ DecodeArgs all_args) {
  extern __shared__ __align__(kTileAlignment) uint4 shared[];
  __shared__ uint64_t barriers[kWarps * WarpRing<kDim>::kUnits];
  __shared__ bool is_last;
  __shared__ WarpJoin<kDim> join;
  __shared__ PartJoin part_join;
  __shared__ DecodePlace kept_place;  // for the end: registers are few in between
  __shared__ int kept_parts;
  __shared__ std::conditional_t<kTurns, TurnedRow<kDim>, int> turned;
  let_next_start();
  const DeviceAttentionArgs& args = all_args.attention;
  const AttentionScratch& scratch = all_args.scratch;
  const int group = all_args.group, shares = all_args.shares;
  DecodePlace place;
  // Where all rows are alone nobody asks which ones are.
  place.row = kTurns ? static_cast<int32_t>(blockIdx.z) : args.single_rows[blockIdx.z];
  const int position = args.rows.positions[place.row], table = args.rows.tables[place.row];
  float frequency = 0;
  if constexpr (kTurns) frequency = turned.frequency(all_args.turn);
  const int tokens = position + 1, dim = args.kv.head_dim;
  const DecodeTiles tiles = tiles_of(tokens);
  if (table < 0 || tiles.begin >= tiles.end) return wait_for_previous();
  place.kv_head = shares == 1 ? blockIdx.y : blockIdx.y / shares;
  const int first = static_cast<int>(blockIdx.y - place.kv_head * shares) * kQueries;
  place.first_head = place.kv_head * group + first;
  place.heads = min(kQueries, group - first);

  if (threadIdx.x == 0) {
    kept_place = place;
    kept_parts = tiles.parts;
  }

  const KeySource source = key_source(args, place.row, place.kv_head, tokens);
  const bool has_last = tiles.end * kTileTokens >= tokens;
  if constexpr (!kTurns) wait_for_previous();
  WarpRing<kDim> ring(all_args.keys, source, shared_address(shared), shared_address(barriers),
                      tiles.begin, tiles.end);
  QueryColumns<kDim> columns;
  const int query = static_cast<int>(threadIdx.x) % 32 / 4;
  if constexpr (kTurns) {
    const int32_t page = source.pages[position / kPageTokens];
    turned.rotate(all_args.turn, position, frequency);
    ring.begin();
    wait_for_previous();
    turned.turn(all_args.turn, place, has_last);
    if (has_last && first == 0) turned.store(all_args.turn, place, page, position);
    columns.load(turned.queries[query], query < place.heads, dim);
  } else {
    ring.begin();
    columns.load(reinterpret_cast<const __half*>(args.q) +
                     (int64_t{place.row} * args.heads + place.first_head + query) * dim,
                 query < place.heads, dim);
  }
  for (int unit = 0; unit < ring.units; unit += 2) {
    const int position = ring.first_token + unit / 2 * kTileTokens;
    const int fresh = tokens - 1 - position;  // of this warp's tokens, where it is one of them
    const bool has_fresh = kTurns && fresh >= 0 && fresh < kOwnTokens;
    float scores[4];
    ring.await();
    if constexpr (kTurns) {
      if (has_fresh) turned.put(ring.at(), 0, fresh, dim);
    }
    columns.score(scores, ring.at());
    ring.release();
    columns.softmax(scores, position, tokens, args.scale * kLog2E);
    ring.await();
    if constexpr (kTurns) {
      if (has_fresh) turned.put(ring.at(), 1, fresh, dim);
    }
    const int own = tokens - position;
    if (own < kOwnTokens) clear_tokens<kDim>(ring.at(), own);
    columns.add_values(scores, ring.at());
    ring.release();
  }

  auto* sums = reinterpret_cast<float*>(shared);  // the rings' memory
  join.join(columns, sums);
  const DecodePlace& row = kept_place;
  if (kept_parts == 1)
    return for_columns<kDim>(row.heads, [&](int query, int column) {
      write_out(args, row, query, column,
                scaled(join.sum_of(sums, query, column), 1 / join.all.total[query]));
    });

  const int64_t sequence = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  float* all = scratch.parts + sequence * gridDim.x * kPartFloats<kDim>;
  float* mine = all + blockIdx.x * kPartFloats<kDim>;
  for_columns<kDim>(row.heads, [&](int query, int column) {
    __stcg(reinterpret_cast<float4*>(mine + query * kDim + column),
           join.sum_of(sums, query, column));
  });
  if (static_cast<int>(threadIdx.x) < row.heads) {
    __stcg(mine + kQueries * kDim + threadIdx.x, join.all.largest[threadIdx.x]);
    __stcg(mine + kQueries * (kDim + 1) + threadIdx.x, join.all.total[threadIdx.x]);
  }
  __threadfence();
  __syncthreads();
  // The counter is zero again when the last one came.
  if (threadIdx.x == 0)
    is_last = atomicInc(scratch.counters + sequence, static_cast<unsigned>(kept_parts - 1)) ==
              static_cast<unsigned>(kept_parts - 1);
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  join_parts<kDim>(args, row, all, kept_parts, part_join);
}

// How many rows there are the launch does not know; copies name those of pages alone.
constexpr int64_t kAnyRows = int64_t{1} << 31;

template <int kDim, bool kTurns>
void launch_decode(DecodeArgs args, cudaStream_t stream) {
  constexpr size_t kRings = kWarps * WarpRing<kDim>::kBytes;
  constexpr size_t kJoin = WarpJoin<kDim>::kBytes;
  constexpr size_t kShared = kRings > kJoin ? kRings : kJoin;
  const auto kernel = decode_kernel<kDim, kTurns>;
  allow_shared(kernel, kShared);
  static const int64_t at_once =
      blocks_at_once(reinterpret_cast<const void*>(kernel), kThreads, kShared);
  const DeviceAttentionArgs& attention = args.attention;
  if (card().has_tiles)
    args.keys = tile_map(kF16, attention.kv.base, kAnyRows, attention.kv.head_dim, kOwnTokens);
  args.group = attention.heads / attention.kv.kv_heads;
  args.shares = (args.group + kQueries - 1) / kQueries;
  const int columns = attention.kv.kv_heads * args.shares;
  const int64_t rows = kTurns ? attention.rows.rows : attention.singles;
  // As many parts as the card has blocks for at once: all end at about the same time.
  const int64_t blocks = int64_t{columns} * rows;
  const int64_t splits =
      std::clamp<int64_t>(std::min(at_once, kAttentionPartsMax) / blocks, 1, kSplitsMax);
  launch("attention_decode", kernel,
         {dim3(static_cast<unsigned>(splits), static_cast<unsigned>(columns),
               static_cast<unsigned>(rows)),
          kThreads, kShared, stream},
         args);
}

int padded_dim(int32_t head_dim) {
  return head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : 256;
}

}  // namespace

int64_t attention_scratch_bytes(int32_t head_dim) {
  return kAttentionPartsMax * kQueries * (padded_dim(head_dim) + 2) * int64_t{sizeof(float)};
}

template <bool kTurns>
void launch_dim(const DecodeArgs& args, cudaStream_t stream) {
  if (args.attention.kv.head_dim <= 64)
    launch_decode<64, kTurns>(args, stream);
  else if (args.attention.kv.head_dim <= 128)
    launch_decode<128, kTurns>(args, stream);
  else
    launch_decode<256, kTurns>(args, stream);
}

void attend_singles(const DeviceAttentionArgs& args, const AttentionScratch& scratch,
                    cudaStream_t stream) {
  if (args.singles == 0) return;
  launch_dim<false>({{}, args, {}, scratch}, stream);
}

void turn_and_attend_singles(const DeviceTurnArgs& turn, const DeviceAttentionArgs& args,
                             const AttentionScratch& scratch, cudaStream_t stream) {
  launch_dim<true>({{}, args, turn, scratch}, stream);
}

}  // namespace sluice::kernels::cuda
