// Routed experts: choices are sorted by expert, then each expert that was chosen multiplies its
// rows, up to kTokens at once, with gate and up, and what silu(gate) · up gives with down; a row's
// results are added in the order of its choices. Few rows are bound by reading the chosen experts
// once, many by the tensor cores. A result does not depend on a row's place among the others, nor
// on their number: a tile of any size sums in one order (grouped.cuh).
// Reference: kernels/ref/ref_device_experts.cpp.
#include "kernels/cuda/experts.cuh"
#include "kernels/cuda/grouped.cuh"
#include "kernels/device_weights.h"

namespace sluice::kernels::cuda {
namespace {

// ---- Plan ---------------------------------------------------------------------------------------

constexpr int kPlanThreads = 1024;
static_assert(kPlanThreads == kExpertsMax, "a thread has one expert");

struct PlanArgs {
  const int32_t* ids = nullptr;
  const int32_t* slots = nullptr;  // or null
  int32_t choices = 0;
  int32_t experts = 0;
  int32_t tile_rows = 0;
};

// Sums over threads before this one, of pairs in one number.
__device__ uint64_t sum_before(uint64_t value) {
  __shared__ uint64_t of_warp[kPlanThreads / 32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint64_t sum = value;
  for (int offset = 1; offset < 32; offset *= 2) {
    const uint64_t other = __shfl_up_sync(0xffffffffu, sum, offset);
    if (lane >= offset) sum += other;
  }
  if (lane == 31) of_warp[warp] = sum;
  __syncthreads();
  for (int w = 0; w < warp; ++w) sum += of_warp[w];
  return sum - value;
}

// The matrices of a choice, or -1.
__device__ __forceinline__ int32_t member_of(const PlanArgs& args, int choice) {
  const int32_t id = args.ids[choice];
  return args.slots == nullptr || id < 0 ? id : args.slots[id];
}

// One block. An expert's places are in no order: nothing depends on it.
__global__ void plan_kernel(PlanArgs args, ExpertPlan plan) {
  __shared__ int next[kExpertsMax];
  let_next_start();
  wait_for_previous();
  const int expert = threadIdx.x;
  next[expert] = 0;
  __syncthreads();
  for (int c = threadIdx.x; c < args.choices; c += kPlanThreads)
    if (const int32_t id = member_of(args, c); id >= 0) atomicAdd(&next[id], 1);
  __syncthreads();
  const int count = next[expert], tiles = (count + args.tile_rows - 1) / args.tile_rows;
  const uint64_t before =
      sum_before(static_cast<uint64_t>(tiles) << 32 | static_cast<uint64_t>(count));
  const int first = static_cast<int>(before & 0xffffffffu);
  const int first_tile = static_cast<int>(before >> 32);
  for (int i = 0; i < tiles; ++i)
    plan.tiles[first_tile + i] = {expert, first + i * args.tile_rows,
                                  min(args.tile_rows, count - i * args.tile_rows)};
  if (expert == kPlanThreads - 1) *plan.tile_count = first_tile + tiles;
  next[expert] = first;
  __syncthreads();
  for (int c = threadIdx.x; c < args.choices; c += kPlanThreads) {
    const int id = member_of(args, c);
    const int place = id >= 0 ? atomicAdd(&next[id], 1) : -1;
    plan.places[c] = place;
    if (place >= 0) plan.choices[place] = c;
  }
}

// ---- Products -----------------------------------------------------------------------------------

struct ExpertRows {
  ExpertPlan plan;
  int32_t used = 0;  // the product's x has a row for this many choices; 0: a row for each place
};

template <typename Shape, GroupedResult kResult>
__global__ void __launch_bounds__(Shape::kThreads, 2)
    experts_kernel(const __grid_constant__ GroupedArgs args, const ExpertRows of) {
  extern __shared__ uint4 shared[];
  __shared__ int32_t rows[Shape::kTokens];
  let_next_start();
  wait_for_previous();
  if (static_cast<int32_t>(blockIdx.y) >= *of.plan.tile_count) return;
  const ExpertTile tile = of.plan.tiles[blockIdx.y];
  for (int i = threadIdx.x; i < tile.count; i += Shape::kThreads)
    rows[i] = of.used > 0 ? of.plan.choices[tile.first + i] / of.used : tile.first + i;
  __syncthreads();
  Grouped<Shape, kResult>(args, {tile.expert, tile.count, tile.first}, shared).run(rows);
}

struct ExpertProducts {
  GroupedArgs grouped;
  ExpertRows rows;
  ExpertTiles tiles;
};

template <typename Shape, GroupedResult kResult>
void launch_shape(const ExpertProducts& products, cudaStream_t stream) {
  const auto kernel = experts_kernel<Shape, kResult>;
  constexpr size_t kShared = Shape::kStages * Shape::kStageBytes;
  allow_shared(kernel, kShared);
  const auto blocks = div_ceil(products.grouped.outputs, Grouped<Shape, kResult>::kOutputs);
  launch("experts", kernel,
         {dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(products.tiles.count_max)),
          Shape::kThreads, kShared, stream},
         products.grouped, products.rows);
}

template <typename Format, GroupedResult kResult>
void launch_format(const ExpertProducts& products, cudaStream_t stream) {
  switch (products.tiles.rows) {
    case 8:
      return launch_shape<FewTokens<Format, 8>, kResult>(products, stream);
    case 16:
      return launch_shape<FewTokens<Format, 16>, kResult>(products, stream);
    default:
      return launch_shape<ManyTokens<Format>, kResult>(products, stream);
  }
}

template <GroupedResult kResult>
void multiply_groups(core::DType type, const ExpertProducts& products, cudaStream_t stream) {
  with_format(type, [&]<typename Format>() { launch_format<Format, kResult>(products, stream); });
}

// ---- Sum ----------------------------------------------------------------------------------------

constexpr int kSumThreads = 128;

struct SumArgs {
  const uint16_t* x = nullptr;  // bf16 (places, columns)
  const int32_t* places = nullptr;
  const float* weights = nullptr;
  int32_t used = 0;
  int64_t columns = 0;  // a multiple of 8
  float* out = nullptr;
};

// A thread has eight columns of a row.
__global__ void sum_kernel(SumArgs args) {
  let_next_start();
  wait_for_previous();
  const int64_t row = blockIdx.y;
  const int64_t column = (int64_t{blockIdx.x} * kSumThreads + threadIdx.x) * 8;
  const int32_t* places = args.places + row * args.used;
  if (column >= args.columns) return;
  auto* out = reinterpret_cast<float4*>(args.out + row * args.columns + column);
  float4 low = out[0], high = out[1];
  for (int i = 0; i < args.used; ++i) {
    if (places[i] < 0) continue;
    const float weight = args.weights[row * args.used + i];
    const uint4 packed =
        *reinterpret_cast<const uint4*>(args.x + places[i] * args.columns + column);
    const float2 v[4] = {floats_of_bf16(packed.x), floats_of_bf16(packed.y),
                         floats_of_bf16(packed.z), floats_of_bf16(packed.w)};
    low = {fmaf(weight, v[0].x, low.x), fmaf(weight, v[0].y, low.y), fmaf(weight, v[1].x, low.z),
           fmaf(weight, v[1].y, low.w)};
    high = {fmaf(weight, v[2].x, high.x), fmaf(weight, v[2].y, high.y),
            fmaf(weight, v[3].x, high.z), fmaf(weight, v[3].y, high.w)};
  }
  out[0] = low;
  out[1] = high;
}

__global__ void add_kernel(float4* to, const float4* from, int64_t vectors) {
  let_next_start();
  wait_for_previous();
  const int64_t i = int64_t{blockIdx.x} * kSumThreads + threadIdx.x;
  if (i >= vectors) return;
  const float4 a = to[i], b = from[i];
  to[i] = {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}

// As many rows of a tile as an expert is likely to have: a tile's weights are read once.
ExpertTiles tiles_of(const DeviceExpertArgs& args) {
  const int64_t choices = args.rows * args.used, experts = args.gate.count;
  const int32_t rows = args.rows <= 8 ? 8 : choices <= 8 * experts ? 16 : 64;
  return {rows, (choices < experts ? choices : experts) + choices / rows};
}

}  // namespace

int64_t expert_tiles_max(int64_t choices, int32_t experts) {
  return (choices < experts ? choices : experts) + choices / 8;
}

void add(float* to, const float* from, int64_t count, cudaStream_t stream) {
  const int64_t vectors = count / 4;
  launch("add", add_kernel,
         {dim3(static_cast<unsigned>(div_ceil(vectors, int64_t{kSumThreads}))), kSumThreads, 0,
          stream},
         reinterpret_cast<float4*>(to), reinterpret_cast<const float4*>(from), vectors);
}

void run_experts(const DeviceExpertArgs& args, const ExpertScratch& scratch, cudaStream_t stream) {
  if (!scratch.is_deterministic && experts_are_narrow(args))
    return run_experts_narrow(args, scratch.activated, stream);
  const ExpertTiles tiles = tiles_of(args);
  const ExpertPlan& plan = scratch.plan;
  launch("expert_plan", plan_kernel, {dim3(1), kPlanThreads, 0, stream},
         PlanArgs{args.ids, args.slots, static_cast<int32_t>(args.rows * args.used),
                  args.gate.count, tiles.rows},
         plan);
  const PackedWeights &gate = args.gate.first, &down = args.down.first;
  multiply_groups<GroupedResult::kSiluMul>(
      gate.type,
      {.grouped = {.weights = {gate.data, args.up.first.data},
                   .stride_bytes = args.gate.stride_bytes,
                   .scales_at = device_scales_at(gate.type, gate.outputs, gate.inputs),
                   .outputs = gate.outputs,
                   .inputs = gate.inputs,
                   .x = args.x,
                   .out = scratch.activated,
                   .out_pitch = gate.outputs},
       .rows = {plan, args.used},
       .tiles = tiles},
      stream);
  multiply_groups<GroupedResult::kBf16>(
      down.type,
      {.grouped = {.weights = {down.data, nullptr},
                   .stride_bytes = args.down.stride_bytes,
                   .scales_at = device_scales_at(down.type, down.outputs, down.inputs),
                   .outputs = down.outputs,
                   .inputs = down.inputs,
                   .x = scratch.activated,
                   .out = scratch.out,
                   .out_pitch = down.outputs},
       .rows = {plan, 0},
       .tiles = tiles},
      stream);
  launch("expert_sum", sum_kernel,
         {dim3(static_cast<unsigned>(div_ceil(down.outputs, int64_t{8} * kSumThreads)),
               static_cast<unsigned>(args.rows)),
          kSumThreads, 0, stream},
         SumArgs{scratch.out, plan.places, args.weights, args.used, down.outputs, args.hidden});
}

}  // namespace sluice::kernels::cuda
