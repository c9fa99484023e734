// Attention of rows that are alone of their sequence: bound by reading keys and values once. The
// heads of a kv head (up to 8) are the columns of one tensor core product, whose rows are tokens,
// so that each key is read once for all of them. A block has a part of the sequence's tiles; its
// four warps take 16 tokens each of a tile, which each copies for itself and ahead of its products,
// and join at the end. Of several parts the block that ends last joins all: no second kernel.
// Reference: kernels/ref/ref_device.cpp.
#include <algorithm>
#include <type_traits>

#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/turn_head.cuh"

namespace sluice::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kQueries = 8;
constexpr int kSplitsMax = 16;
constexpr int kPartTilesMin = 2;  // joining parts costs more than another tile

// What a block leaves for the join: sums (kQueries, kDim), largest and total (kQueries).
template <int kDim>
constexpr int kPartFloats = kQueries*(kDim + 2);

// Rows and columns of eight-by-eight values change places within a warp.
__device__ __forceinline__ uint32_t turned_over(uint32_t pair) {
  uint32_t over;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(over) : "r"(pair));
  return over;
}

// Eight queries in a warp's registers, as columns: thread t has of each product the columns
// 2 (t % 4) and one more, at rows t / 4 and t / 4 + 8, which are tokens in scores and dimensions in
// sums.
template <int kDim>
struct QueryColumns {
  uint32_t q[kDim / 16][2];
  float out[kDim / 16][4];
  float largest[2];
  float total[2];

  // row_at(i): query i's values (dim), or null where there is none.
  template <typename RowAt>
  __device__ __forceinline__ void load(const RowAt& row_at, int dim) {
    const int lane = threadIdx.x % 32;
    const __half* row = row_at(lane / 4);
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = k * 16 + i * 8 + lane % 4 * 2;
        q[k][i] =
            row != nullptr && column < dim ? *reinterpret_cast<const uint32_t*>(row + column) : 0;
      }
#pragma unroll
    for (int n = 0; n < kDim / 16; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) out[n][i] = 0;
    largest[0] = largest[1] = -INFINITY;
    total[0] = total[1] = 0;
  }

  // Products with 16 tokens, whose keys stand from this address on.
  __device__ __forceinline__ void score(float (&scores)[4], uint32_t keys_at) const {
    const int lane = threadIdx.x % 32;
    float even[4] = {}, odd[4] = {};  // two, so that fewer products wait for each other
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t keys[4];
      load_matrices(keys, keys_at + tile_offset<kDim>(lane % 16, k * 2 + lane / 16));
      multiply_add(k % 2 == 0 ? even : odd, keys, q[k][0], q[k][1]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[i] = even[i] + odd[i];
  }

  // Scores become weights relative to the largest so far; what was summed before is scaled to it.
  // Tokens stand at `position` and behind; those from `limit` on are not seen.
  __device__ __forceinline__ void softmax(float (&scores)[4], int position, int limit,
                                          float factor) {
    const int token = position + static_cast<int>(threadIdx.x) % 32 / 4;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float &first = scores[i], &second = scores[2 + i];
      first = token < limit ? first * factor : -INFINITY;
      second = token + 8 < limit ? second * factor : -INFINITY;
      float most = fmaxf(first, second);
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2)
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, offset));
      most = fmaxf(most, largest[i]);
      const float base = most == -INFINITY ? 0 : most;
      const float kept = exp2f(largest[i] - base);
      largest[i] = most;
      first = exp2f(first - base);
      second = exp2f(second - base);
      total[i] = total[i] * kept + first + second;  // of this thread's tokens
#pragma unroll
      for (int n = 0; n < kDim / 16; ++n) {
        out[n][i] *= kept;
        out[n][2 + i] *= kept;
      }
    }
  }

  // Values of the same tokens, by the weights that softmax() has made of their scores.
  __device__ __forceinline__ void add_values(const float (&scores)[4], uint32_t values_at) {
    const int lane = threadIdx.x % 32;
    const uint32_t first = turned_over(half_pair(scores[0], scores[1]));
    const uint32_t second = turned_over(half_pair(scores[2], scores[3]));
#pragma unroll
    for (int n = 0; n < kDim / 16; ++n) {
      uint32_t values[4];
      load_matrices_turned(
          values, values_at + tile_offset<kDim>(lane / 16 * 8 + lane % 8, n * 2 + lane / 8 % 2));
      multiply_add(out[n], values, first, second);
    }
  }

  // The sums of all tokens; before, each thread has those of its own.
  __device__ __forceinline__ void join_totals() {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2)
        total[i] += __shfl_xor_sync(0xffffffffu, total[i], offset);
  }
};

// What the warps have of the first `heads` queries, in shared memory: (kWarps, kPartFloats).
template <int kDim>
__device__ const float* share_columns(QueryColumns<kDim>& columns, int heads) {
  extern __shared__ uint4 shared[];
  auto* parts = reinterpret_cast<float*>(shared);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float* mine = parts + warp * kPartFloats<kDim>;
  columns.join_totals();
#pragma unroll
  for (int more = 0; more < 2; ++more) {
    const int i = lane % 4 * 2 + more;
    if (i >= heads) continue;
#pragma unroll
    for (int n = 0; n < kDim / 16; ++n) {
      float* to = mine + i * kDim + n * 16 + lane / 4;
      to[0] = columns.out[n][more];
      to[8] = columns.out[n][2 + more];
    }
    if (lane < 4) {
      mine[kQueries * kDim + i] = columns.largest[more];
      mine[kQueries * (kDim + 1) + i] = columns.total[more];
    }
  }
  __syncthreads();
  return parts;
}

// A column of a query, of `parts` parts, (parts, kPartFloats).
struct JoinedColumn {
  float sum = 0;
  float total = 0;
  float largest = -INFINITY;
};
template <int kDim, float (*kLoad)(const float*)>
__device__ __forceinline__ JoinedColumn join_column(const float* from, int parts, int i,
                                                    int column) {
  JoinedColumn joined;
  for (int p = 0; p < parts; ++p)
    joined.largest =
        fmaxf(joined.largest, kLoad(from + p * kPartFloats<kDim> + kQueries * kDim + i));
  for (int p = 0; p < parts; ++p) {
    const float* part = from + p * kPartFloats<kDim>;
    const float largest = kLoad(part + kQueries * kDim + i);
    const float weight = largest == -INFINITY ? 0 : exp2f(largest - joined.largest);
    joined.sum += weight * kLoad(part + i * kDim + column);
    joined.total += weight * kLoad(part + kQueries * (kDim + 1) + i);
  }
  return joined;
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

// Joins `parts` parts into the row's output.
template <int kDim, float (*kLoad)(const float*)>
__device__ void write_out(const DeviceAttentionArgs& args, const DecodePlace& place,
                          const float* from, int parts) {
  const int dim = args.kv.head_dim;
  auto* out = reinterpret_cast<__nv_bfloat16*>(args.out) +
              (int64_t{place.row} * args.heads + place.first_head) * dim;
  for (int at = threadIdx.x; at < place.heads * kDim; at += kThreads) {
    const int i = at / kDim, column = at % kDim;
    if (column >= dim) continue;
    const JoinedColumn joined = join_column<kDim, kLoad>(from, parts, i, column);
    out[i * dim + column] = __float2bfloat16(joined.sum / joined.total);
  }
}

// Joins the warps' rows into the part of this block, in global memory.
template <int kDim>
__device__ void write_part(const float* from, int heads, float* part) {
  for (int at = threadIdx.x; at < heads * kDim; at += kThreads) {
    const int i = at / kDim, column = at % kDim;
    const JoinedColumn joined = join_column<kDim, of_this_block>(from, kWarps, i, column);
    __stcg(part + at, joined.sum);
    if (column > 0) continue;
    __stcg(part + kQueries * kDim + i, joined.largest);
    __stcg(part + kQueries * (kDim + 1) + i, joined.total);
  }
}

struct DecodeArgs {
  DeviceAttentionArgs attention;
  DeviceTurnArgs turn;  // of kTurns
  AttentionScratch scratch;
};

// Which tiles of a row's sequence a block has, of the parts that all blocks of the row make.
struct DecodeTiles {
  int begin = 0;
  int end = 0;
  int parts = 0;
};
__device__ __forceinline__ DecodeTiles tiles_of(int tokens) {
  const int tiles = (tokens + kTileTokens - 1) / kTileTokens;
  const int per_part = max(kPartTilesMin, static_cast<int>((tiles + gridDim.x - 1) / gridDim.x));
  const int begin = blockIdx.x * per_part;
  return {begin, min(tiles, begin + per_part), (tiles + per_part - 1) / per_part};
}

// What turn() does, for the heads of one block: queries stay in shared memory, and so do the key
// and value of the row, which the block of the last tile also stores.
template <int kDim>
struct TurnedRow {
  float2 rotation[kDim / 2];
  alignas(16) __half queries[kQueries][kDim];
  alignas(16) __half fresh[2][kDim];  // key, value
  float values[kWarps][kDim];

  __device__ void rotate(const DeviceTurnArgs& args, int32_t position) {
    for (int i = threadIdx.x; i < args.rope.dims / 2; i += kThreads)
      rotation[i] = rotation_of(args, position, i);
    __syncthreads();
  }
  __device__ void turn(const DeviceTurnArgs& args, const DecodePlace& place, bool has_last) {
    const int warp = threadIdx.x / 32;
    const auto rotated = [this](int pair) { return rotation[pair]; };
    // Key and value first: the last warps have fewer queries.
    if (has_last && warp == kWarps - 1)
      turn_head(args, args.k, {place.row, place.kv_head, fresh[0]}, values[warp], rotated);
    if (has_last && warp == kWarps - 2) value_head(args, {place.row, place.kv_head, fresh[1]});
    for (int i = warp; i < place.heads; i += kWarps)
      turn_head(args, args.q, {place.row, place.first_head + i, queries[i]}, values[warp], rotated);
    __syncthreads();
    if (!has_last || place.first_head % (args.q.heads / args.kv.kv_heads) != 0) return;
    __half* keys = key_place(args, place.row, place.kv_head);
    const int dim = args.kv.head_dim;
    const int64_t to_values = int64_t{args.kv.kv_heads} * kPageTokens * dim;
    for (int d = threadIdx.x; d < 2 * dim; d += kThreads)
      keys[d / dim * to_values + d % dim] = fresh[d / dim][d % dim];
  }
  // Key or value to its place among the tokens of a warp, which were copied without it.
  __device__ void put(std::byte* tokens, int side, int token, int dim) const {
    for (int chunk = threadIdx.x % 32; chunk < dim / 8; chunk += 32)
      *reinterpret_cast<uint4*>(tokens + tile_offset<kDim>(token, chunk)) =
          *reinterpret_cast<const uint4*>(&fresh[side][chunk * 8]);
    __syncwarp();
  }
};

// Copies of a warp: keys of its tokens of the first tile, their values, keys of the next, … , each
// a unit, in a ring of its own.
constexpr int kOwnTokens = kTileTokens / kWarps;
static_assert(kPageTokens % kOwnTokens == 0 && kOwnTokens == 16);
template <int kDim>
struct WarpRing {
  static constexpr int kUnitBytes = kOwnTokens * kDim * 2;
  static constexpr int kUnits = kDim == 64 ? 6 : 3;
  static constexpr int kBytes = kUnits * kUnitBytes;  // of a warp

  const KeySource& source;
  std::byte* ring;  // of this warp
  int first_token;  // of this warp, in the first tile
  int units;
  int started = 0;
  int32_t pages = 0;  // of this lane's tile of the next 32

  __device__ WarpRing(const KeySource& of, std::byte* shared, const DecodeTiles& tiles)
      : source(of),
        ring(shared + threadIdx.x / 32 * kBytes),
        first_token(tiles.begin * kTileTokens + static_cast<int>(threadIdx.x) / 32 * kOwnTokens),
        units(2 * (tiles.end - tiles.begin)) {
    for (int i = 0; i < kUnits; ++i) start();
  }
  __device__ std::byte* at(int unit) const { return ring + unit % kUnits * kUnitBytes; }

  // The copy of the next unit, if there is one.
  __device__ __forceinline__ void start() {
    const int unit = started++;
    const int first = first_token + unit / 2 * kTileTokens;
    if (unit < units) {
      const int lane = threadIdx.x % 32;
      const int64_t side = int64_t{source.kv_heads} * kPageTokens * source.dim;
      // All of a warp's tokens lie in one page. Their numbers are fetched 32 at once: a copy that
      // waits for its own is late.
      if (unit % 64 == 0) {
        const int of_lane = first + lane * kTileTokens;
        pages = of_lane < source.tokens ? source.pages[of_lane / kPageTokens] : 0;
      }
      const int64_t page = __shfl_sync(0xffffffffu, pages, unit / 2 % 32);
      const auto* from = reinterpret_cast<const __half*>(source.base) +
                         (page * 2 + unit % 2) * side +
                         (int64_t{source.head} * kPageTokens + first % kPageTokens) * source.dim;
      const uint32_t to = shared_address(at(unit));
      constexpr int kChunks = kDim / 8;
#pragma unroll
      for (int i = 0; i < kOwnTokens * kChunks / 32; ++i) {
        const int token = (i * 32 + lane) / kChunks, chunk = (i * 32 + lane) % kChunks;
        const bool has = first + token < source.tokens && chunk * 8 < source.dim;
        copy_16(to + tile_offset<kDim>(token, chunk),
                has ? from + token * source.dim + chunk * 8
                    : reinterpret_cast<const __half*>(source.base),
                has);
      }
    }
    end_copies();
  }
  // The next unit is there.
  __device__ __forceinline__ void await() const {
    wait_copies<kUnits - 1>();
    __syncwarp();
  }
  // It has been used; another is copied to its place.
  __device__ __forceinline__ void release() {
    __syncwarp();
    start();
  }
};

// Blocks that a multiprocessor has at once: registers and shared memory allow as many.
template <int kDim>
constexpr int kBlocksAtOnce = kDim == 256 ? 1 : 4;

// kTurns: with turn() before it. Keys of earlier steps are on their way before the op before has
// ended.
template <int kDim, bool kTurns>
__global__ void __launch_bounds__(kThreads, kBlocksAtOnce<kDim>)
    decode_kernel(const __grid_constant__ DecodeArgs all_args) {
  extern __shared__ uint4 shared[];
  __shared__ bool is_last;
  __shared__ std::conditional_t<kTurns, TurnedRow<kDim>, int> turned;
  let_next_start();
  const DeviceAttentionArgs& args = all_args.attention;
  const AttentionScratch& scratch = all_args.scratch;
  const int group = args.heads / args.kv.kv_heads;
  const int shares = (group + kQueries - 1) / kQueries;  // of a kv head's queries
  DecodePlace place;
  place.row = args.single_rows[blockIdx.z];
  const int tokens = args.rows.positions[place.row] + 1, dim = args.kv.head_dim;
  const DecodeTiles tiles = tiles_of(tokens);
  if (args.rows.tables[place.row] < 0 || tiles.begin >= tiles.end) return wait_for_previous();
  place.kv_head = blockIdx.y / shares;
  const int first = blockIdx.y % shares * kQueries;
  place.first_head = place.kv_head * group + first;
  place.heads = min(kQueries, group - first);

  const KeySource source = key_source(args, place.row, place.kv_head, kTurns ? tokens - 1 : tokens);
  const bool has_last = tiles.end * kTileTokens >= tokens;
  if constexpr (!kTurns) wait_for_previous();
  WarpRing<kDim> ring(source, reinterpret_cast<std::byte*>(shared), tiles);
  if constexpr (kTurns) {
    turned.rotate(all_args.turn, tokens - 1);
    wait_for_previous();
    turned.turn(all_args.turn, place, has_last);
  }
  QueryColumns<kDim> columns;
  columns.load(
      [&](int i) -> const __half* {
        if (i >= place.heads) return nullptr;
        if constexpr (kTurns) return turned.queries[i];
        return reinterpret_cast<const __half*>(args.q) +
               (int64_t{place.row} * args.heads + place.first_head + i) * dim;
      },
      dim);
  for (int unit = 0; unit < ring.units; unit += 2) {
    const int position = ring.first_token + unit / 2 * kTileTokens;
    const int fresh = tokens - 1 - position;  // of this warp's tokens, where it is one of them
    const bool has_fresh = kTurns && fresh >= 0 && fresh < kOwnTokens;
    float scores[4];
    ring.await();
    if constexpr (kTurns) {
      if (has_fresh) turned.put(ring.at(unit), 0, fresh, dim);
    }
    columns.score(scores, shared_address(ring.at(unit)));
    ring.release();
    columns.softmax(scores, position, tokens, args.scale * kLog2E);
    ring.await();
    if constexpr (kTurns) {
      if (has_fresh) turned.put(ring.at(unit + 1), 1, fresh, dim);
    }
    columns.add_values(scores, shared_address(ring.at(unit + 1)));
    ring.release();
  }
  __syncthreads();  // what follows takes the rings' memory

  const int64_t sequence = int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  const float* of_warps = share_columns(columns, place.heads);
  if (tiles.parts == 1) return write_out<kDim, of_this_block>(args, place, of_warps, kWarps);

  float* all = scratch.parts + sequence * gridDim.x * kPartFloats<kDim>;
  write_part<kDim>(of_warps, place.heads, all + blockIdx.x * kPartFloats<kDim>);
  __threadfence();
  __syncthreads();
  // The counter is zero again when the last one came.
  if (threadIdx.x == 0)
    is_last = atomicInc(scratch.counters + sequence, static_cast<unsigned>(tiles.parts - 1)) ==
              static_cast<unsigned>(tiles.parts - 1);
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  write_out<kDim, of_other_block>(args, place, all, tiles.parts);
}

template <int kDim, bool kTurns>
void launch_decode(const DecodeArgs& args, cudaStream_t stream) {
  constexpr size_t kRings = kWarps * WarpRing<kDim>::kBytes;
  constexpr size_t kJoin = kWarps * kPartFloats<kDim> * sizeof(float);
  constexpr size_t kShared = kRings > kJoin ? kRings : kJoin;
  const auto kernel = decode_kernel<kDim, kTurns>;
  allow_shared(kernel, kShared);
  static const int64_t at_once =
      blocks_at_once(reinterpret_cast<const void*>(kernel), kThreads, kShared);
  const DeviceAttentionArgs& attention = args.attention;
  const int group = attention.heads / attention.kv.kv_heads;
  const int columns = attention.kv.kv_heads * ((group + kQueries - 1) / kQueries);
  // As many parts as the card has blocks for at once: all end at about the same time.
  const int64_t blocks = int64_t{columns} * attention.singles;
  const int64_t splits =
      std::clamp<int64_t>(std::min(at_once, kAttentionPartsMax) / blocks, 1, kSplitsMax);
  launch("attention_decode", kernel,
         {dim3(static_cast<unsigned>(splits), static_cast<unsigned>(columns),
               static_cast<unsigned>(attention.singles)),
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
  launch_dim<false>({args, {}, scratch}, stream);
}

void turn_and_attend_singles(const DeviceTurnArgs& turn, const DeviceAttentionArgs& args,
                             const AttentionScratch& scratch, cudaStream_t stream) {
  launch_dim<true>({args, turn, scratch}, stream);
}

}  // namespace sluice::kernels::cuda
