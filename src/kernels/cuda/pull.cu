// Experts of the host for one layer of one step: which ones, and their weights read over the link
// by the multiprocessors, since the queue does not know which before it is there. A block takes a
// panel of 16 outputs and reads it in runs of whole lines; what bounds it is the link (50 of the
// copy engine's 55 GB/s from 16 blocks on). Reference: kernels/ref/ref_device_bring.cpp.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/pull.cuh"
#include "kernels/cuda/unpack_blocks.cuh"
#include "kernels/device_weights.h"

namespace sluice::kernels::cuda {
namespace {

constexpr int kPickThreads = 1024;
constexpr int kWords = kPickedExpertsMax / 32;
static_assert(kPickThreads >= kPickedExpertsMax);

// One block, a thread an expert.
__global__ void __launch_bounds__(kPickThreads)
    pick_kernel(const __grid_constant__ DevicePickArgs args) {
  __shared__ uint32_t chosen[kWords], taken[kWords];
  wait_for_previous();
  let_next_start();
  const int expert = static_cast<int>(threadIdx.x);
  if (expert < kWords) chosen[expert] = taken[expert] = 0;
  __syncthreads();
  const auto has_slot = [&](int32_t id) { return args.slots != nullptr && args.slots[id] >= 0; };
  const int64_t choices = args.rows * args.used;
  for (int64_t i = expert; i < choices; i += kPickThreads)
    if (const int32_t id = args.ids[i]; id >= 0 && !has_slot(id))
      atomicOr(&chosen[id / 32], 1u << id % 32);
  __syncthreads();
  int32_t above = 0, all = 0;  // experts of a higher number
  for (int w = 0; w < kWords; ++w) {
    const int32_t count = __popc(chosen[w]);
    all += count;
    if (w > expert / 32) above += count;
  }
  const uint32_t word = chosen[expert / 32];
  above += __popc(word & ~((2u << expert % 32) - 1));
  const auto share = static_cast<int32_t>(int64_t{all} * args.share / kPullShareOne);
  const int32_t count = min(share, args.cards * args.room);  // as pulled_experts()
  const bool is_pulled = (word >> expert % 32 & 1) != 0 && above < count;
  const bool is_here = is_pulled && above % args.cards == args.card;
  if (is_pulled) atomicOr(&taken[expert / 32], 1u << expert % 32);
  if (is_here) args.taken[1 + above / args.cards] = expert;
  if (expert < args.experts) args.slot_of[expert] = is_here ? above / args.cards : -1;
  if (expert == 0) args.taken[0] = (count - args.card + args.cards - 1) / args.cards;
  __syncthreads();
  for (int64_t i = expert; i < choices; i += kPickThreads) {
    const int32_t id = args.ids[i];
    const bool is_host = id >= 0 && !has_slot(id) && (taken[id / 32] >> id % 32 & 1) == 0;
    args.host_ids[i] = is_host ? id : -1;
  }
}

constexpr int kThreads = 256;
constexpr int kBlocks = 64;
constexpr int kPairs = 16;      // of a run
constexpr int kE4m3Blocks = 4;  // of a run
constexpr int64_t kRunBytes = kPairs * kPairBytesOf<true>;
static_assert(kE4m3Blocks * E4m3OnHost::kBlockBytes <= kRunBytes);
constexpr int kUnitBytes = 16;

struct Stack {
  PackedLayout layout;
  int64_t panels;
  int64_t inputs;
  uint8_t* codes;
  int64_t scales_at;
  int64_t stride_bytes;
};
struct PullKernelArgs {
  const int32_t* taken;
  const std::byte* const* from;
  Stack stacks[kPulledStacks];
};

// All threads; the run is theirs to read afterwards.
__device__ __forceinline__ void read_run(const uint8_t* from, int64_t bytes, uint8_t* run) {
  __syncthreads();  // the last one has been read
  const auto* units = reinterpret_cast<const uint4*>(from);
  for (int64_t i = threadIdx.x; i < bytes / kUnitBytes; i += kThreads)
    reinterpret_cast<uint4*>(run)[i] = __ldcs(units + i);
  __syncthreads();
}

// Neighbours have neighbouring blocks of an output.
template <bool kMinima>
__device__ void pull_panel(const Stack& stack, const uint8_t* from, uint8_t* codes, __half* scales,
                           int64_t panel, uint8_t* run) {
  constexpr int64_t kPairBytes = kPairBytesOf<kMinima>;
  const int64_t blocks = stack.inputs / PlanesOnHost::kBlock, pairs = (blocks + 1) / 2;
  const auto* units = reinterpret_cast<const float*>(from);
  for (int64_t first = 0; first < pairs; first += kPairs) {
    const int64_t count = min(int64_t{kPairs}, pairs - first);
    read_run(from + PlanesOnHost::kHeaderBytes + first * kPairBytes, count * kPairBytes, run);
    for (int i = static_cast<int>(threadIdx.x); i < 2 * kPairs * kUnpackLanes; i += kThreads) {
      const int at = i % (2 * kPairs), lane = i / (2 * kPairs);
      const int64_t block = 2 * first + at;
      if (block < blocks)
        unpack_block<kMinima>(run + at / 2 * kPairBytes, at % 2, lane, __ldg(units + lane), codes,
                              scales, (panel * kUnpackLanes + lane) * blocks + block);
    }
  }
}

__device__ void pull_e4m3_panel(const Stack& stack, const uint8_t* from, uint8_t* codes,
                                float* scales, int64_t panel, uint8_t* run) {
  using Host = E4m3OnHost;
  constexpr int kTiles = static_cast<int>(Host::kBlock / Host::kTile);
  const int64_t blocks = stack.inputs / Host::kBlock;
  for (int64_t first = 0; first < blocks; first += kE4m3Blocks) {
    const int64_t count = min(int64_t{kE4m3Blocks}, blocks - first);
    read_run(from + first * Host::kBlockBytes, count * Host::kBlockBytes, run);
    for (int i = static_cast<int>(threadIdx.x); i < count * kTiles * kUnpackLanes; i += kThreads) {
      const int at = i % static_cast<int>(count * kTiles);
      const int lane = i / static_cast<int>(count * kTiles);
      const int64_t output = panel * kUnpackLanes + lane, block = first + at / kTiles;
      const uint8_t* of_block = run + at / kTiles * Host::kBlockBytes;
      unpack_e4m3_tile(
          of_block, at % kTiles, lane,
          codes + output * stack.inputs + block * Host::kBlock + at % kTiles * Host::kTile);
      if (at % kTiles == 0)
        scales[output * blocks + block] =
            reinterpret_cast<const float*>(of_block + Host::kScalesAt)[lane];
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    pull_kernel(const __grid_constant__ PullKernelArgs args) {
  __shared__ __align__(16) uint8_t run[kRunBytes];
  wait_for_previous();
  let_next_start();
  int64_t panels = 0;
  for (const Stack& stack : args.stacks) panels += stack.panels;
  const int64_t work = args.taken[0] * panels;
  for (int64_t w = blockIdx.x; w < work; w += gridDim.x) {
    const auto place = static_cast<int>(w / panels);
    int64_t panel = w % panels;
    int s = 0;
    for (; panel >= args.stacks[s].panels; ++s) panel -= args.stacks[s].panels;
    const Stack& stack = args.stacks[s];
    const auto* matrix =
        reinterpret_cast<const uint8_t*>(args.from[args.taken[1 + place] * kPulledStacks + s]);
    uint8_t* const codes = stack.codes + place * stack.stride_bytes;
    uint8_t* const scales = codes + stack.scales_at;
    const int64_t pairs =
        (stack.inputs + 2 * PlanesOnHost::kBlock - 1) / (2 * PlanesOnHost::kBlock);
    const auto planes = [&](int64_t pair_bytes) {
      return matrix + panel * (PlanesOnHost::kHeaderBytes + pairs * pair_bytes);
    };
    if (stack.layout == PackedLayout::kPlanes)
      pull_panel<false>(stack, planes(kPairBytesOf<false>), codes,
                        reinterpret_cast<__half*>(scales), panel, run);
    else if (stack.layout == PackedLayout::kPlanesWithMinima)
      pull_panel<true>(stack, planes(kPairBytesOf<true>), codes, reinterpret_cast<__half*>(scales),
                       panel, run);
    else
      pull_e4m3_panel(
          stack, matrix + panel * (stack.inputs / E4m3OnHost::kBlock) * E4m3OnHost::kBlockBytes,
          codes, reinterpret_cast<float*>(scales), panel, run);
  }
}

}  // namespace

void pick(const DevicePickArgs& args, cudaStream_t stream) {
  launch("pick", pick_kernel, {dim3(1), kPickThreads, 0, stream}, args);
}

void pull(const DevicePullArgs& args, cudaStream_t stream) {
  PullKernelArgs kernel{args.taken, args.from, {}};
  for (size_t s = 0; s < args.stacks.size(); ++s) {
    const PulledStack& stack = args.stacks[s];
    kernel.stacks[s] = {stack.layout,
                        stack.outputs / kUnpackLanes,
                        stack.inputs,
                        reinterpret_cast<uint8_t*>(stack.to),
                        device_scales_at(brought_type(stack.layout), stack.outputs, stack.inputs),
                        stack.stride_bytes};
  }
  launch("pull", pull_kernel, {dim3(kBlocks), kThreads, 0, stream}, kernel);
}

}  // namespace sluice::kernels::cuda
