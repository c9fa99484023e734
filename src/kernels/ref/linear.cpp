// Linear layers over the file's own blocks. Compiled with -O3: the loops are for the vectoriser.
#include <algorithm>
#include <array>

#include "core/math.h"
#include "core/thread_pool.h"
#include "kernels/ref/ref.h"

namespace sluice::kernels::ref {
namespace {

constexpr int kLanes = 16;
constexpr int64_t kRun = 256;  // values summed in float before they join the double sum
constexpr int64_t kRowsOfX = 4;

// sums[i] = x[i] · w for kCount rows of x, `stride` apart. The order depends on `count` alone.
template <int kCount>
void dots(const float* x, int64_t stride, const float* w, int64_t count, double* sums) {
  for (int i = 0; i < kCount; ++i) sums[i] = 0;
  for (int64_t run = 0; run < count; run += kRun) {
    const int64_t end = std::min(count, run + kRun);
    const int64_t whole = run + (end - run) / kLanes * kLanes;
    std::array<std::array<float, kLanes>, kCount> lanes{};
    for (int64_t c = run; c < whole; c += kLanes)
      for (int i = 0; i < kCount; ++i)
        for (int lane = 0; lane < kLanes; ++lane)
          lanes[i][lane] += x[i * stride + c + lane] * w[c + lane];
    for (int i = 0; i < kCount; ++i) {
      for (int lane = 0; lane < kLanes; ++lane) sums[i] += double{lanes[i][lane]};
      for (int64_t c = whole; c < end; ++c) sums[i] += double{x[i * stride + c]} * double{w[c]};
    }
  }
}

}  // namespace

int64_t packed_bytes(core::DType type, int64_t outputs, int64_t inputs) {
  return outputs * core::bytes_of(type, inputs);
}

void pack(const PackArgs& args, int thread, int threads) {
  const int64_t row_bytes = core::bytes_of(args.type, args.inputs);
  const core::Range rows = core::split(args.outputs, 1, thread, threads);
  std::memcpy(args.packed + rows.begin * row_bytes, args.weights + rows.begin * row_bytes,
              static_cast<size_t>((rows.end - rows.begin) * row_bytes));
}

ActivationForm activation_form(core::DType) {
  return ActivationForm::kF32;
}

int64_t activation_bytes(ActivationForm, int64_t, int64_t) {
  return 0;
}

void quantize_activations(const QuantizeArgs&, int, int) {}

void linear(const LinearArgs& args, int thread, int threads) {
  const PackedWeights& w = args.weights;
  ASSERT(w.inputs <= kLinearInputsMax, "{} inputs, at most {}", w.inputs, kLinearInputsMax);
  const int64_t row_bytes = core::bytes_of(w.type, w.inputs);
  std::array<float, kLinearInputsMax> row;
  const auto finish = [&](int64_t m, int64_t output, double sum) {
    if (args.bias != nullptr) sum += double{args.bias[output]};
    const int64_t at = m * w.outputs + output;
    if (args.residual != nullptr) sum += double{args.residual[at]};
    args.y[at] = static_cast<float>(sum);
  };
  const auto [index, count] = args.portion;
  const core::Range outputs = core::split(w.outputs, 1, thread * count + index, threads * count);
  for (int64_t output = outputs.begin; output < outputs.end; ++output) {
    decode(w.type, w.data + output * row_bytes, w.inputs, row.data());
    std::array<double, kRowsOfX> sums;
    int64_t m = 0;
    for (; m + kRowsOfX <= args.rows; m += kRowsOfX) {
      dots<kRowsOfX>(args.x + m * w.inputs, w.inputs, row.data(), w.inputs, sums.data());
      for (int64_t i = 0; i < kRowsOfX; ++i) finish(m + i, output, sums[static_cast<size_t>(i)]);
    }
    for (; m < args.rows; ++m) {
      dots<1>(args.x + m * w.inputs, w.inputs, row.data(), w.inputs, sums.data());
      finish(m, output, sums[0]);
    }
  }
}

}  // namespace sluice::kernels::ref
