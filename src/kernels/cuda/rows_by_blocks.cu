// Rows by matrices kept in blocks, more rows than narrow.cuh takes and fewer than pay for decoding
// a matrix: on the tensor cores, straight from the blocks (grouped.cuh with one group).
// Reference: kernels/ref/ref_device.cpp.
#include "kernels/cuda/grouped.cuh"
#include "kernels/cuda/ops.cuh"
#include "kernels/device_weights.h"

namespace sluice::kernels::cuda {
namespace {

// Four warps share the inputs of 32 weight rows: matrices of a few thousand outputs keep the card
// busy, and the order of a sum does not depend on the run.
template <typename Format>
using RowsShape = GroupedShape<Format, kRowsByBlocksMax, 8, 128, 4, 4>;

template <typename Shape, GroupedResult kResult>
__global__ void __launch_bounds__(Shape::kThreads)
    rows_kernel(const __grid_constant__ GroupedArgs args, int32_t count) {
  extern __shared__ uint4 shared[];
  __shared__ int32_t rows[Shape::kTokens];
  let_next_start();
  wait_for_previous();
  if (threadIdx.x < Shape::kTokens) rows[threadIdx.x] = static_cast<int32_t>(threadIdx.x);
  __syncthreads();
  Grouped<Shape, kResult>(args, {0, count, 0}, shared).run(rows);
}

template <typename Format, GroupedResult kResult>
void launch_format(const GroupedArgs& args, int64_t rows, cudaStream_t stream) {
  using Shape = RowsShape<Format>;
  const auto kernel = rows_kernel<Shape, kResult>;
  constexpr size_t kShared = Shape::kStages * Shape::kStageBytes;
  allow_shared(kernel, kShared);
  const auto blocks = div_ceil(args.outputs, Grouped<Shape, kResult>::kOutputs);
  launch("rows_by_blocks", kernel,
         {dim3(static_cast<unsigned>(blocks)), Shape::kThreads, kShared, stream}, args,
         static_cast<int32_t>(rows));
}

template <GroupedResult kResult>
void launch_type(core::DType type, const GroupedArgs& args, int64_t rows, cudaStream_t stream) {
  switch (type) {
    case core::DType::kQ8_0:
      return launch_format<Q8_0Weights, kResult>(args, rows, stream);
    case core::DType::kQ4_0:
      return launch_format<Q4_0Weights, kResult>(args, rows, stream);
    case core::DType::kF8_B128:
      return launch_format<F8Run, kResult>(args, rows, stream);
    default:
      return launch_format<Q4_1Weights, kResult>(args, rows, stream);
  }
}

}  // namespace

void rows_by_blocks(const DeviceLinearArgs& args, const uint16_t* x, cudaStream_t stream) {
  const DeviceProduct& product = args.products[0];
  const PackedWeights& w = product.weights;
  const GroupedArgs grouped{.weights = {w.data, args.products[1].weights.data},
                            .scales_at = device_scales_at(w.type, w.outputs, w.inputs),
                            .outputs = w.outputs,
                            .inputs = w.inputs,
                            .x = x,
                            .out = args.activated,
                            .y = product.y,
                            .out_pitch = w.outputs};
  if (args.result == DeviceResult::kSiluMul)
    launch_type<GroupedResult::kSiluMul>(w.type, grouped, args.rows, stream);
  else if (args.result == DeviceResult::kAdd)
    launch_type<GroupedResult::kFloatAdd>(w.type, grouped, args.rows, stream);
  else
    launch_type<GroupedResult::kFloat>(w.type, grouped, args.rows, stream);
}

}  // namespace sluice::kernels::cuda
