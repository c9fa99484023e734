// Products of latent attention that each head has a matrix for. Reference:
// kernels/ref/ref_device_latent.cpp.
#include "kernels/cuda/grouped.cuh"
#include "kernels/cuda/latent.cuh"
#include "kernels/device_weights.h"

namespace sluice::kernels::cuda {
namespace {

// A row is token · heads + head on both sides. Blocks: outputs, heads, tokens.
template <typename Shape, GroupedResult kResult>
__global__ void __launch_bounds__(Shape::kThreads, 2)
    heads_kernel(const __grid_constant__ GroupedArgs args, int tokens) {
  extern __shared__ uint4 shared[];
  __shared__ int32_t rows[Shape::kTokens];
  let_next_start();
  wait_for_previous();
  const int heads = gridDim.y, head = blockIdx.y, first = blockIdx.z * Shape::kTokens;
  const int count = min(Shape::kTokens, tokens - first);
  for (int i = threadIdx.x; i < count; i += Shape::kThreads) rows[i] = (first + i) * heads + head;
  __syncthreads();
  Grouped<Shape, kResult>(args, {head, count, int64_t{first} * heads + head}, shared).run(rows);
}

struct HeadProducts {
  GroupedArgs grouped;
  int32_t heads = 0;
  int64_t tokens = 0;
};

template <typename Shape, GroupedResult kResult>
void launch_shape(const HeadProducts& products, cudaStream_t stream) {
  const auto kernel = heads_kernel<Shape, kResult>;
  constexpr size_t kShared = Shape::kStages * Shape::kStageBytes;
  allow_shared(kernel, kShared);
  const int64_t blocks = div_ceil(products.grouped.outputs, Grouped<Shape, kResult>::kOutputs);
  launch("latent_heads", kernel,
         {dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(products.heads),
               static_cast<unsigned>(div_ceil(products.tokens, int64_t{Shape::kTokens}))),
          Shape::kThreads, kShared, stream},
         products.grouped, static_cast<int>(products.tokens));
}

template <typename Format, GroupedResult kResult>
void launch_format(const HeadProducts& products, cudaStream_t stream) {
  if (products.tokens <= 8)
    launch_shape<FewTokens<Format, 8>, kResult>(products, stream);
  else if (products.tokens <= 16)
    launch_shape<FewTokens<Format, 16>, kResult>(products, stream);
  else
    launch_shape<ManyTokens<Format>, kResult>(products, stream);
}

template <GroupedResult kResult>
void multiply_heads(const DeviceStack& matrices, HeadProducts products, cudaStream_t stream) {
  const PackedWeights& first = matrices.first;
  GroupedArgs& grouped = products.grouped;
  grouped.weights[0] = first.data;
  grouped.stride_bytes = matrices.stride_bytes;
  grouped.scales_at = device_scales_at(first.type, first.outputs, first.inputs);
  grouped.outputs = first.outputs;
  grouped.inputs = first.inputs;
  grouped.out_step = products.heads;
  with_format(first.type,
              [&]<typename Format>() { launch_format<Format, kResult>(products, stream); });
}

}  // namespace

void multiply_k_b(const DeviceLatentArgs& args, const LatentScratch& scratch, cudaStream_t stream) {
  multiply_heads<GroupedResult::kF16>(
      args.k_b,
      {.grouped = {.x = scratch.q_nope, .out = scratch.queries, .out_pitch = args.kv.head_dim},
       .heads = args.heads,
       .tokens = args.rows.rows},
      stream);
}

void multiply_v_b(const DeviceLatentArgs& args, const LatentScratch& scratch, cudaStream_t stream) {
  multiply_heads<GroupedResult::kBf16>(
      args.v_b,
      {.grouped = {.x = scratch.attended, .out = args.out, .out_pitch = args.v_b.first.outputs},
       .heads = args.heads,
       .tokens = args.rows.rows},
      stream);
}

}  // namespace sluice::kernels::cuda
