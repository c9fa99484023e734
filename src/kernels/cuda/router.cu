// Where rows go: RMSNorm, scores of all experts in float, groups, the best. Few rows are bound by
// reading the router once, many by the float units. Reference: kernels/ref/ref_device_experts.cpp.
#include <cmath>

#include "kernels/cuda/experts.cuh"
#include "kernels/cuda/launch.cuh"

namespace sluice::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// ---- Scores of rows before the norm's factor ----------------------------------------------------

// (splits, rows, experts): the sum over splits is Σ_i hidden · norm · router.
struct ScoreArgs {
  const float* hidden = nullptr;
  const float* norm = nullptr;
  const float* router = nullptr;
  int64_t rows = 0;
  int64_t inputs = 0;
  int32_t experts = 0;
  float* scores = nullptr;
};

constexpr int kTile = 64;    // rows and experts of a block
constexpr int kInputs = 32;  // at once
constexpr int kOfThread = 4;

// A thread has 4 rows × 4 experts of a tile; blocks along z share the inputs.
__global__ void __launch_bounds__(kThreads) score_tile_kernel(ScoreArgs args) {
  __shared__ float rows[kInputs][kTile + 4], experts[kInputs][kTile + 4];
  let_next_start();
  wait_for_previous();
  const int64_t first_row = int64_t{blockIdx.x} * kTile;
  const int first_expert = blockIdx.y * kTile;
  const int64_t of_split = (args.inputs / kInputs + gridDim.z) / gridDim.z * kInputs;
  const int64_t begin = blockIdx.z * of_split, end = min(args.inputs, begin + of_split);
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  float sums[kOfThread][kOfThread] = {};
  for (int64_t first = begin; first < end; first += kInputs) {
    for (int i = threadIdx.x; i < kTile * kInputs / 4; i += kThreads) {
      const int of_tile = i / (kInputs / 4), column = i % (kInputs / 4) * 4;
      const int64_t row = first_row + of_tile, input = first + column;
      const int expert = first_expert + of_tile;
      float4 x{}, w{};
      if (input < end) {
        if (row < args.rows)
          x = *reinterpret_cast<const float4*>(args.hidden + row * args.inputs + input);
        if (expert < args.experts) {
          w = *reinterpret_cast<const float4*>(args.router + expert * args.inputs + input);
          const float4 n = *reinterpret_cast<const float4*>(args.norm + input);
          w = {w.x * n.x, w.y * n.y, w.z * n.z, w.w * n.w};
        }
      }
      const float xs[4] = {x.x, x.y, x.z, x.w}, ws[4] = {w.x, w.y, w.z, w.w};
      for (int c = 0; c < 4; ++c) {
        rows[column + c][of_tile] = xs[c];
        experts[column + c][of_tile] = ws[c];
      }
    }
    __syncthreads();
#pragma unroll 8
    for (int k = 0; k < kInputs; ++k) {
      const float4 x = *reinterpret_cast<const float4*>(&rows[k][ty * kOfThread]);
      const float4 w = *reinterpret_cast<const float4*>(&experts[k][tx * kOfThread]);
      const float xs[4] = {x.x, x.y, x.z, x.w}, ws[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
      for (int r = 0; r < kOfThread; ++r)
#pragma unroll
        for (int e = 0; e < kOfThread; ++e) sums[r][e] = fmaf(xs[r], ws[e], sums[r][e]);
    }
    __syncthreads();
  }
  for (int r = 0; r < kOfThread; ++r)
    for (int e = 0; e < kOfThread; ++e) {
      const int64_t row = first_row + ty * kOfThread + r;
      const int expert = first_expert + tx * kOfThread + e;
      if (row < args.rows && expert < args.experts)
        args.scores[(blockIdx.z * args.rows + row) * args.experts + expert] = sums[r][e];
    }
}

// The norm's factor of a row; writes the normed row.
__device__ float norm_row(const DeviceRouteArgs& args, int64_t row, float* scratch) {
  const auto* x = reinterpret_cast<const float4*>(args.hidden + row * args.inputs);
  const auto* weight = reinterpret_cast<const float4*>(args.norm);
  auto* out = reinterpret_cast<uint2*>(args.normed + row * args.inputs);
  float squares = 0;
  for (int64_t i = threadIdx.x; i < args.inputs / 4; i += kThreads) {
    const float4 v = x[i];
    squares += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  }
  const float mean = block_sum(squares, scratch) / static_cast<float>(args.inputs);
  const float factor = rsqrtf(mean + args.epsilon);
  for (int64_t i = threadIdx.x; i < args.inputs / 4; i += kThreads) {
    const float4 v = x[i], w = weight[i];
    out[i] = {bf16_pair(v.x * factor * w.x, v.y * factor * w.y),
              bf16_pair(v.z * factor * w.z, v.w * factor * w.w)};
  }
  return factor;
}

// ---- Scores of few rows -------------------------------------------------------------------------

constexpr int kFewRows = 4;
constexpr int kAhead = 8;  // vectors of weights that a thread has read before the rows are there

// A block has an expert and reads its weights once. Behind them a block has a row's norm, so that
// the choice need not wait for it.
template <int kRows>
__global__ void __launch_bounds__(kThreads)
    score_few_kernel(const __grid_constant__ DeviceRouteArgs args, float* scores, float* factors) {
  __shared__ float scratch[32];
  let_next_start();
  const int expert = static_cast<int>(blockIdx.x);
  if (expert >= args.experts) {
    wait_for_previous();
    const int row = expert - args.experts;
    const float factor = norm_row(args, row, scratch);
    if (threadIdx.x == 0) factors[row] = factor;
    return;
  }
  const auto* router = reinterpret_cast<const float4*>(args.router + expert * args.inputs);
  const auto* norm = reinterpret_cast<const float4*>(args.norm);
  const auto count = static_cast<int>(args.inputs / 4);
  float4 weights[kAhead];
  const auto load = [&](int first) {
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int i = first + k * kThreads;
      if (i >= count) continue;
      const float4 w = router[i], n = norm[i];
      weights[k] = {w.x * n.x, w.y * n.y, w.z * n.z, w.w * n.w};
    }
  };
  load(static_cast<int>(threadIdx.x));
  wait_for_previous();
  float sums[kRows] = {};
  for (int first = static_cast<int>(threadIdx.x); first < count; first += kAhead * kThreads) {
    if (first >= kAhead * kThreads) load(first);
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int i = first + k * kThreads;
      if (i >= count) continue;
      const float4 v = weights[k];
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (r >= args.rows) break;
        const float4 x = reinterpret_cast<const float4*>(args.hidden + r * args.inputs)[i];
        sums[r] += x.x * v.x + x.y * v.y + x.z * v.z + x.w * v.w;
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (r >= args.rows) break;
    const float sum = block_sum(sums[r], scratch);
    if (threadIdx.x == 0) scores[int64_t{r} * args.experts + expert] = sum;
  }
}

// ---- The choice ---------------------------------------------------------------------------------

// Better first; the smaller id of equals. What is not a number is worst.
struct Candidate {
  float score = -INFINITY;
  int32_t id = INT32_MAX;
};
__device__ Candidate better(Candidate a, Candidate b) {
  const bool second = b.score > a.score || (b.score == a.score && b.id < a.id);
  return second ? b : a;
}
__device__ Candidate best_of_warp(Candidate best) {
  for (int offset = 16; offset > 0; offset /= 2)
    best = better(best, {__shfl_xor_sync(0xffffffffu, best.score, offset),
                         __shfl_xor_sync(0xffffffffu, best.id, offset)});
  return best;
}

__device__ float block_max(float value, float* scratch) {
  for (int offset = 16; offset > 0; offset /= 2)
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  for (int w = 0; w < kThreads / 32; ++w) value = fmaxf(value, scratch[w]);
  return value;
}

struct RowScores {
  float plain[kExpertsMax];
  float biased[kExpertsMax];  // what the choice is by; NaN: taken
  float of_group[kExpertsMax];
  float scratch[32];
};

__device__ void score_experts(const DeviceRouteArgs& args, const float* scores, int splits,
                              int64_t row, float factor, RowScores& s) {
  const bool is_softmax = args.rule.scores == RouterScores::kSoftmax;
  float largest = -INFINITY;
  for (int e = threadIdx.x; e < args.experts; e += kThreads) {
    float sum = 0;
    for (int split = 0; split < splits; ++split)
      sum += scores[(split * args.rows + row) * args.experts + e];
    s.plain[e] = sum * factor;
    largest = fmaxf(largest, s.plain[e]);
  }
  float total = 1;
  if (is_softmax) {
    largest = block_max(largest, s.scratch);
    float sum = 0;
    for (int e = threadIdx.x; e < args.experts; e += kThreads)
      sum += s.plain[e] = expf(s.plain[e] - largest);
    total = block_sum(sum, s.scratch);
  }
  for (int e = threadIdx.x; e < args.experts; e += kThreads) {
    s.plain[e] = is_softmax ? s.plain[e] / total : 1 / (1 + expf(-s.plain[e]));
    const bool is_favoured = args.slots != nullptr && args.slots[e] >= 0;
    const float score = is_favoured ? s.plain[e] * (1 + args.preference) : s.plain[e];
    const float biased = score + (args.bias != nullptr ? args.bias[e] : 0.0f);
    s.biased[e] = biased >= -INFINITY ? biased : -INFINITY;
  }
  __syncthreads();
}

// Groups with the largest sum of their best one or two scores stay, the first of equals. A warp has
// a group.
__device__ void keep_groups(const DeviceRouteArgs& args, RowScores& s) {
  const int groups = args.rule.groups, in_group = args.experts / groups;
  const int lane = threadIdx.x % 32;
  for (int g = threadIdx.x / 32; g < groups; g += kThreads / 32) {
    float first = -INFINITY, second = -INFINITY;
    for (int e = lane; e < in_group; e += 32) {
      const float score = s.biased[g * in_group + e];
      second = fmaxf(second, fminf(first, score));
      first = fmaxf(first, score);
    }
    for (int offset = 16; offset > 0; offset /= 2) {
      const float other = __shfl_xor_sync(0xffffffffu, first, offset);
      second =
          fmaxf(fminf(first, other), fmaxf(second, __shfl_xor_sync(0xffffffffu, second, offset)));
      first = fmaxf(first, other);
    }
    if (lane == 0) s.of_group[g] = args.rule.group_best == 1 ? first : first + second;
  }
  __syncthreads();
  for (int e = threadIdx.x; e < args.experts; e += kThreads) {
    const int own = e / in_group;
    int ahead = 0;
    for (int g = 0; g < groups; ++g)
      ahead += s.of_group[g] > s.of_group[own] || (s.of_group[g] == s.of_group[own] && g < own);
    if (ahead >= args.rule.groups_used) s.biased[e] = -INFINITY;
  }
  __syncthreads();
}

// By the first warp.
__device__ void take_best(const DeviceRouteArgs& args, int64_t row, RowScores& s) {
  const int lane = threadIdx.x;
  int32_t* ids = args.ids + row * args.used;
  float* weights = args.weights + row * args.used;
  float sum = 0;
  for (int i = 0; i < args.used; ++i) {
    Candidate best;
    for (int e = lane; e < args.experts; e += 32) best = better(best, {s.biased[e], e});
    best = best_of_warp(best);
    const float weight = s.plain[best.id];
    sum += weight;
    __syncwarp();
    if (lane == 0) {
      ids[i] = best.id;
      weights[i] = weight;
      s.biased[best.id] = NAN;
    }
    __syncwarp();
  }
  const float factor = args.rule.scale / (args.rule.normalized ? sum + 1e-20f : 1.0f);
  for (int i = lane; i < args.used; i += 32) weights[i] *= factor;
}

// A block a row. `factors`: of the rows' norms, which are written; or null: neither is known.
__global__ void __launch_bounds__(kThreads)
    choose_kernel(const __grid_constant__ DeviceRouteArgs args, const float* scores, int splits,
                  const float* factors) {
  __shared__ RowScores s;
  let_next_start();
  wait_for_previous();
  const int64_t row = blockIdx.x;
  const float factor = factors != nullptr ? factors[row] : norm_row(args, row, s.scratch);
  if (args.tables != nullptr && args.tables[row] < 0) {
    for (int i = threadIdx.x; i < args.used; i += kThreads) args.ids[row * args.used + i] = -1;
    return;
  }
  score_experts(args, scores, splits, row, factor, s);
  if (args.rule.groups_used < args.rule.groups) keep_groups(args, s);
  if (threadIdx.x < 32) take_best(args, row, s);
}

constexpr int64_t kBlocksWanted = 264;
// Where a row's scores must not depend on the number of rows: always as many splits, of as many
// rows at once as have room.
constexpr int64_t kAlikeSplits = 32;
constexpr int64_t kAlikeRows = 512;
static_assert(kAlikeSplits * kAlikeRows <= kBlocksWanted * kTile);

int64_t splits_of(int64_t rows, int32_t experts) {
  const int64_t tiles = div_ceil(rows, kTile) * div_ceil(experts, kTile);
  const int64_t splits = kBlocksWanted / tiles;
  return splits < 1 ? 1 : splits > 32 ? 32 : splits;
}

ScoreArgs scores_of(const DeviceRouteArgs& args, float* scores) {
  return {args.hidden, args.norm, args.router, args.rows, args.inputs, args.experts, scores};
}

void score_few(const DeviceRouteArgs& args, float* scores, float* factors, cudaStream_t stream) {
  const auto kernel = args.rows == 1 ? score_few_kernel<1> : score_few_kernel<kFewRows>;
  launch("router_scores", kernel,
         {dim3(static_cast<unsigned>(args.experts + args.rows)), kThreads, 0, stream}, args, scores,
         factors);
}

void score_tiles(const ScoreArgs& args, int64_t splits, cudaStream_t stream) {
  launch("router_scores", score_tile_kernel,
         {dim3(static_cast<unsigned>(div_ceil(args.rows, kTile)),
               static_cast<unsigned>(div_ceil(args.experts, kTile)), static_cast<unsigned>(splits)),
          kThreads, 0, stream},
         args);
}

struct Scores {
  const float* of_splits = nullptr;
  int64_t splits = 1;
  const float* factors = nullptr;  // as choose_kernel has them
};

void choose(const DeviceRouteArgs& args, const Scores& scores, cudaStream_t stream) {
  launch("router_choice", choose_kernel,
         {dim3(static_cast<unsigned>(args.rows)), kThreads, 0, stream}, args, scores.of_splits,
         static_cast<int>(scores.splits), scores.factors);
}

void route_alike(const DeviceRouteArgs& args, float* scores, cudaStream_t stream) {
  for (int64_t first = 0; first < args.rows; first += kAlikeRows) {
    DeviceRouteArgs rows = args;
    rows.rows = args.rows - first < kAlikeRows ? args.rows - first : kAlikeRows;
    rows.hidden += first * args.inputs;
    rows.normed += first * args.inputs;
    rows.ids += first * args.used;
    rows.weights += first * args.used;
    if (rows.tables != nullptr) rows.tables += first;
    score_tiles(scores_of(rows, scores), kAlikeSplits, stream);
    choose(rows, {scores, kAlikeSplits}, stream);
  }
}

}  // namespace

// Rows above a tile's have as many splits as keep their product below kBlocksWanted tiles; of few
// rows the norms' factors lie behind the scores.
int64_t score_floats(int64_t rows_max, int32_t experts) {
  return (rows_max + kBlocksWanted * kTile) * experts;
}

void route(const DeviceRouteArgs& args, const ExpertScratch& scratch, cudaStream_t stream) {
  if (scratch.is_deterministic) return route_alike(args, scratch.scores, stream);
  if (args.rows <= kFewRows) {
    float* const factors = scratch.scores + args.rows * args.experts;
    score_few(args, scratch.scores, factors, stream);
    return choose(args, {scratch.scores, 1, factors}, stream);
  }
  const int64_t splits = splits_of(args.rows, args.experts);
  score_tiles(scores_of(args, scratch.scores), splits, stream);
  choose(args, {scratch.scores, splits}, stream);
}

}  // namespace sluice::kernels::cuda
