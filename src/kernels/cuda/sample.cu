// Sampling: masks, and the token at a random number of the distribution that temperature, top_k,
// min_p and top_p leave (engine/sampling.h). A row is a cluster of blocks, or one block on cards
// that have no clusters, which pass over its logits once, for each of top_k and top_p two to four
// times more.
//
// Probabilities are integers, exp((logit - best) / temperature) · 2^44: their sums are the same
// in whatever order, so the token is a function of the row alone. A set of tokens that top_k or
// top_p keeps is all keys from an edge on (logit_key.cuh: by logit, then by id). The edge is found
// by a histogram of distances from the best logit, then by histograms of ever smaller ranges of
// keys.
//
// Bound by latency: a row of 128,256 logits lies in the second cache.
// Reference: kernels/ref/ref_device_sample.cpp.
#include <cooperative_groups.h>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/logit_key.cuh"
#include "kernels/cuda/sample.cuh"

namespace sluice::kernels::cuda {
namespace {

namespace cg = cooperative_groups;

constexpr int kBlocks = kCard.sample_blocks;  // of a row, in device code
constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;
constexpr int kBinBits = 11;
constexpr int kBins = 1 << kBinBits;
constexpr int kChunksMax = 64;              // of a block's columns
constexpr float kUnit = 17592186044416.0f;  // 2^44: what the best token weighs
constexpr float kFarthest = 32;             // of a logit from the best, over temperature
constexpr float kStepsOfOne = kBins / kFarthest;
constexpr uint32_t kAllLanes = 0xffffffffu;

// Which tokens are left: those with a weight, a key of at least `edge`, and a step of at most
// `last_step`.
struct Row {
  const float* logits = nullptr;
  int64_t columns = 0;
  float best = 0;
  float temperature = 0;
  float inverse_temperature = 0;
  float min_p = 0;
  uint64_t edge = 0;
  int last_step = kBins - 1;

  __device__ float distance_of(float logit) const { return (best - logit) * inverse_temperature; }
  __device__ uint64_t weight_of(float logit) const {
    const float share = expf(-distance_of(logit));
    return share >= min_p ? __float2ull_rn(share * kUnit) : 0;
  }
  // Distances in equal steps: never less for a smaller logit.
  __device__ int step_of(float logit) const {
    return min(static_cast<int>(fminf(distance_of(logit), kFarthest) * kStepsOfOne), kBins - 1);
  }
  __device__ bool has(float logit, uint64_t key) const {
    return key >= edge && step_of(logit) <= last_step;
  }
};
enum class Measure { kCount, kWeight };

// Of a block; those of a row's blocks are read by each other.
struct Shared {
  uint32_t low[kBins];  // a bin's sum, 64 bits in two halves
  uint32_t high[kBins];
  uint64_t bins[kBins];         // the same of all blocks
  uint64_t groups[kBins / 32];  // sums of 32 bins
  uint64_t sums[kChunksMax];    // weights of the block's chunks
  uint64_t total;               // of the block
  int bin;
  uint64_t before_bin;
};

// The blocks of a row meet: what they wrote before is seen after.
__device__ void meet_row() {
#if SLUICE_SM90A
  cg::this_cluster().sync();
#else
  __syncthreads();
#endif
}
__device__ const Shared& shared_of(Shared& mine, int block) {
#if SLUICE_SM90A
  return *cg::this_cluster().map_shared_rank(&mine, block);
#else
  return mine;
#endif
}

__device__ uint64_t warp_sum_of(uint64_t value) {
  for (int offset = 16; offset > 0; offset /= 2)
    value += __shfl_xor_sync(kAllLanes, static_cast<unsigned long long>(value), offset);
  return value;
}
// Of the lanes up to this one.
__device__ uint64_t warp_prefix(uint64_t value) {
  const int lane = threadIdx.x % 32;
  for (int offset = 1; offset < 32; offset *= 2) {
    const uint64_t other =
        __shfl_up_sync(kAllLanes, static_cast<unsigned long long>(value), offset);
    if (lane >= offset) value += other;
  }
  return value;
}

// By one warp: the first of `count` values at which the sum from the first on is at least
// `wanted`, and the sum before it; -1 where there is none.
template <typename Value>
__device__ int first_reaching(int64_t count, uint64_t wanted, const Value& value_at,
                              uint64_t* before) {
  const int lane = threadIdx.x % 32;
  uint64_t sum = 0;
  for (int64_t first = 0; first < count; first += 32) {
    const uint64_t value = first + lane < count ? value_at(first + lane) : 0;
    const uint64_t prefix = sum + warp_prefix(value);
    const uint32_t reached = __ballot_sync(kAllLanes, prefix >= wanted && value > 0);
    if (reached != 0) {
      const int at = __ffs(static_cast<int>(reached)) - 1;
      *before = __shfl_sync(kAllLanes, static_cast<unsigned long long>(prefix - value), at);
      return static_cast<int>(first) + at;
    }
    sum = __shfl_sync(kAllLanes, static_cast<unsigned long long>(prefix), 31);
  }
  return -1;
}

// 64 bits by two additions of 32: whatever their order, each overflow is carried once.
__device__ void add_to_bin(Shared& s, int bin, uint64_t value) {
  const auto low = static_cast<uint32_t>(value);
  const uint32_t old = atomicAdd(s.low + bin, low);
  const uint32_t high = static_cast<uint32_t>(value >> 32) + (old + low < old ? 1 : 0);
  if (high != 0) atomicAdd(s.high + bin, high);
}

// Of all blocks, what `bin_of` says of each token that is left: -1: it does not count.
template <Measure kMeasure, typename BinOf>
__device__ void fill_bins(const Row& row, Shared& s, const BinOf& bin_of) {
  for (int bin = threadIdx.x; bin < kBins; bin += kThreads) s.low[bin] = s.high[bin] = 0;
  __syncthreads();
#pragma unroll 4
  for (int64_t c = int64_t{blockIdx.x} * kThreads + threadIdx.x; c < row.columns;
       c += kBlocks * kThreads) {
    const float logit = row.logits[c];
    const uint64_t key = logit_key(logit, c);
    if (!row.has(logit, key)) continue;
    const int bin = bin_of(logit, key);
    const uint64_t weight = bin < 0 ? 0 : row.weight_of(logit);
    if (weight > 0) add_to_bin(s, bin, kMeasure == Measure::kCount ? 1 : weight);
  }
  meet_row();
  for (int bin = threadIdx.x; bin < kBins; bin += kThreads) {
    uint64_t sum = 0;
    for (int block = 0; block < kBlocks; ++block) {
      const Shared& other = shared_of(s, block);
      sum += (uint64_t{other.high[bin]} << 32) + other.low[bin];
    }
    s.bins[bin] = sum;
    sum = warp_sum_of(sum);
    if (threadIdx.x % 32 == 0) s.groups[bin / 32] = sum;
  }
  meet_row();  // nobody clears what others read
}

// The first bin with which the sum from bin 0 on is at least `wanted`, for all threads, and the
// sum before it; -1 where there is none.
__device__ int find_bin(uint64_t wanted, Shared& s, uint64_t* before) {
  if (threadIdx.x < 32) {
    uint64_t before_group = 0, before_bin = 0;
    int bin = first_reaching(
        kBins / 32, wanted, [&](int64_t i) { return s.groups[i]; }, &before_group);
    if (bin >= 0) {
      const int first = bin * 32;
      bin = first + first_reaching(
                        32, wanted - before_group, [&](int64_t i) { return s.bins[first + i]; },
                        &before_bin);
    }
    if (threadIdx.x == 0) {
      s.bin = bin;
      s.before_bin = before_group + before_bin;
    }
  }
  __syncthreads();
  const int bin = s.bin;
  *before = s.before_bin;
  __syncthreads();
  return bin;
}

// Leaves the fewest of the row's tokens, best first, that reach `wanted`; all where they do not.
template <Measure kMeasure>
__device__ void cut_off(Row* row, uint64_t best_key, uint64_t wanted, Shared& s) {
  // Whether a bin is needed to its last token, none of which has less than `least`.
  const auto is_whole = [&](int bin, uint64_t before, uint64_t least) {
    return before + s.bins[bin] < wanted + (kMeasure == Measure::kCount ? 1 : least);
  };
  const auto weight_at = [](float distance) {
    return static_cast<uint64_t>(expf(-distance) * (0.999f * kUnit));
  };
  uint64_t before = 0;
  fill_bins<kMeasure>(*row, s, [&](float logit, uint64_t) { return row->step_of(logit); });
  const int step = find_bin(wanted, s, &before);
  if (step < 0) return;
  row->last_step = step;
  if (is_whole(step, before, weight_at((step + 1) / kStepsOfOne))) return;
  wanted -= before;

  // Those of the step, by key; with room for what distances are rounded by.
  const float slack = (fabsf(row->best) + kFarthest * row->temperature) * 1e-6f;
  const float nearest = row->best - step / kStepsOfOne * row->temperature + slack;
  const float farthest = row->best - (step + 1) / kStepsOfOne * row->temperature - slack;
  uint64_t high = best_key, low = row->edge;
  if (nearest < row->best) high = uint64_t{logit_order(nearest)} << 32 | 0xffffffffu;
  if (isfinite(farthest)) low = max(low, uint64_t{logit_order(farthest)} << 32);
  for (;;) {
    const int bits = 64 - __clzll(static_cast<long long>(high - low));
    const int shift = bits > kBinBits ? bits - kBinBits : 0;
    fill_bins<kMeasure>(*row, s, [&](float logit, uint64_t key) {
      if (key < low || key > high || row->step_of(logit) != step) return -1;
      return static_cast<int>((high - key) >> shift);
    });
    const int bin = find_bin(wanted, s, &before);
    if (bin < 0) return;
    high -= static_cast<uint64_t>(bin) << shift;
    low = max(low, high - min(high, (uint64_t{1} << shift) - 1));
    const auto order = static_cast<uint32_t>(low >> 32);
    const float least = __uint_as_float(order & 0x80000000u ? order & 0x7fffffffu : ~order);
    if (shift == 0 || is_whole(bin, before, weight_at(row->distance_of(least) + 1e-4f))) {
      row->edge = low;
      return;
    }
    wanted -= before;
  }
}

// A block's columns, as chunks that one warp adds up.
struct Chunks {
  int64_t begin = 0;  // of the block's columns
  int64_t end = 0;
  int64_t columns = 0;  // of a chunk
};
__device__ Chunks chunks_of(const Row& row) {
  constexpr int64_t kChunkWarps = int64_t{kBlocks} * kChunksMax * 32;
  const int64_t chunk = (row.columns + kChunkWarps - 1) / kChunkWarps * 32;
  const int64_t begin = min(int64_t{blockIdx.x} * chunk * kChunksMax, row.columns);
  return {begin, min(begin + chunk * kChunksMax, row.columns), chunk};
}

__device__ uint64_t weight_at(const Row& row, int64_t column) {
  const float logit = row.logits[column];
  return row.has(logit, logit_key(logit, column)) ? row.weight_of(logit) : 0;
}

// The weights that are left, by chunk, by block, and of the blocks before this one; returns all.
__device__ uint64_t add_up(const Row& row, Shared& s, uint64_t* before) {
  const Chunks chunks = chunks_of(row);
  if (threadIdx.x == 0) s.total = 0;
  __syncthreads();
  for (int chunk = threadIdx.x / 32; chunk < kChunksMax; chunk += kWarps) {
    const int64_t begin = chunks.begin + chunk * chunks.columns;
    const int64_t end = min(begin + chunks.columns, chunks.end);
    uint64_t sum = 0;
    for (int64_t c = begin + threadIdx.x % 32; c < end; c += 32) sum += weight_at(row, c);
    sum = warp_sum_of(sum);
    if (threadIdx.x % 32 != 0) continue;
    s.sums[chunk] = sum;
    atomicAdd(reinterpret_cast<unsigned long long*>(&s.total), sum);
  }
  meet_row();
  uint64_t all = 0;
  *before = 0;
  for (int block = 0; block < kBlocks; ++block) {
    const uint64_t total = shared_of(s, block).total;
    if (block < static_cast<int>(blockIdx.x)) *before += total;
    all += total;
  }
  meet_row();  // nobody clears what others read
  return all;
}

// The token at `unit` of what is left, tokens in the order of their ids.
__device__ void draw(const Row& row, double unit, Shared& s, int32_t* id) {
  uint64_t before = 0;
  const uint64_t all = add_up(row, s, &before);
  uint64_t wanted = static_cast<uint64_t>(unit * static_cast<double>(all)) + 1;
  if (wanted > all) wanted = all;
  if (threadIdx.x >= 32 || wanted <= before || wanted > before + s.total) return;
  wanted -= before;
  const Chunks chunks = chunks_of(row);
  const int chunk = first_reaching(
      kChunksMax, wanted, [&](int64_t i) { return s.sums[i]; }, &before);
  const int64_t begin = chunks.begin + chunk * chunks.columns;
  const int at = first_reaching(
      min(chunks.columns, chunks.end - begin), wanted - before,
      [&](int64_t i) { return weight_at(row, begin + i); }, &before);
  if (threadIdx.x == 0) *id = static_cast<int32_t>(begin + at);
}

__global__ SLUICE_CLUSTER(kBlocks)
    __launch_bounds__(kThreads) void choose_kernel(DeviceSampleArgs args) {
  __shared__ Shared s;
  let_next_start();
  wait_for_previous();
  const SampleRow how = args.how[blockIdx.y];
  int32_t* id = args.ids + blockIdx.y;
  const int32_t best_id = *id;
  if (best_id < 0 || how.temperature < kGreedyTemperature) return;
  Row row{.logits = args.logits + blockIdx.y * args.stride,
          .columns = args.columns,
          .temperature = how.temperature,
          .inverse_temperature = 1.0f / how.temperature,
          .min_p = how.min_p};
  row.best = row.logits[best_id];
  const float farthest = row.best - kFarthest * how.temperature;
  row.edge = uint64_t{logit_order(isfinite(farthest) ? farthest : -3.4e38f)} << 32;
  const uint64_t best_key = logit_key(row.best, best_id);
  if (how.top_k > 0 && how.top_k < args.columns)
    cut_off<Measure::kCount>(&row, best_key, static_cast<uint64_t>(how.top_k), s);
  if (how.top_p < 1.0f) {
    uint64_t before = 0;
    const uint64_t all = add_up(row, s, &before);
    const double least = ceil(static_cast<double>(how.top_p) * static_cast<double>(all));
    const uint64_t wanted = least < 1 ? 1 : static_cast<uint64_t>(least);
    cut_off<Measure::kWeight>(&row, best_key, min(wanted, all), s);
  }
  draw(row, how.unit, s, id);
}

// Leaves what is not finite as it is, for argmax to report.
__global__ void mask_kernel(DeviceSampleArgs args) {
  let_next_start();
  wait_for_previous();
  float* row = args.logits + blockIdx.x * args.stride;
  const float masked = __uint_as_float(kMaskedLogitBits);
  for (int64_t c = args.columns + threadIdx.x; c < args.stride; c += blockDim.x) row[c] = masked;
  if (args.how == nullptr) return;
  const SampleRow& how = args.how[blockIdx.x];
  if (static_cast<int>(threadIdx.x) >= how.masked_count) return;
  float& logit = row[how.masked_ids[threadIdx.x]];
  if (isfinite(logit)) logit = masked;
}

__global__ void take_kernel(int32_t* ids, int64_t rows, const int32_t* sampled) {
  let_next_start();
  wait_for_previous();
  for (int64_t r = threadIdx.x; r < rows; r += blockDim.x)
    if (const int32_t from = ids[r]; from < 0) ids[r] = max(sampled[-1 - from], 0);
}

}  // namespace

void mask_logits(const DeviceSampleArgs& args, cudaStream_t stream) {
  launch("mask", mask_kernel, {dim3(static_cast<unsigned>(args.rows)), 128, 0, stream}, args);
}

void choose_tokens(const DeviceSampleArgs& args, cudaStream_t stream) {
  launch("choose", choose_kernel,
         {dim3(static_cast<unsigned>(card().sample_blocks), static_cast<unsigned>(args.rows)),
          kThreads, 0, stream},
         args);
}

void take_sampled(int32_t* ids, int64_t rows, const int32_t* sampled, cudaStream_t stream) {
  launch("take", take_kernel, {dim3(1), 256, 0, stream}, ids, rows, sampled);
}

}  // namespace sluice::kernels::cuda
