// What a draft layer joins: the embedding of a row's next token and the row's state, normalised.
// Bound by latency: a pass has few rows. Reference: kernels/ref/ref_device.cpp.
#include "kernels/cuda/join.cuh"
#include "kernels/cuda/launch.cuh"

namespace sluice::kernels::cuda {
namespace {

constexpr int kThreads = 512;

// Blocks: rows, halves of what is joined.
__global__ void __launch_bounds__(kThreads) join_kernel(DeviceJoinArgs args) {
  __shared__ float scratch[32];
  let_next_start();
  wait_for_previous();
  const int64_t row = blockIdx.x, columns = args.columns;
  const bool is_state = blockIdx.y == 1;
  const float* x =
      is_state ? args.states + args.state_rows[row] * columns : args.embedded + row * columns;
  auto* out =
      reinterpret_cast<__nv_bfloat16*>(args.out) + (2 * row + int64_t{blockIdx.y}) * columns;
  const auto factor_of = [&](const auto& value) {
    float squares = 0;
    for (int64_t c = threadIdx.x; c < columns; c += kThreads) squares += value(c) * value(c);
    return rsqrtf(block_sum(squares, scratch) / static_cast<float>(columns) + args.epsilon);
  };
  const auto put = [&](const auto& value, const float* weight) {
    const float factor = factor_of(value);
    for (int64_t c = threadIdx.x; c < columns; c += kThreads)
      out[c] = __float2bfloat16(value(c) * factor * weight[c]);
  };
  const auto plain = [&](int64_t c) { return x[c]; };
  if (!is_state) return put(plain, args.embedding_norm);
  const float factor = factor_of(plain);
  put([&](int64_t c) { return x[c] * factor * args.output_norm[c]; }, args.state_norm);
}

}  // namespace

void join_rows(const DeviceJoinArgs& args, cudaStream_t stream) {
  launch("join", join_kernel, {dim3(static_cast<unsigned>(args.rows), 2), kThreads, 0, stream},
         args);
}

}  // namespace sluice::kernels::cuda
