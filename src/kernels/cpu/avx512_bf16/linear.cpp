// Linear layers of bf16 weights: VDPBF16PS adds two products to every sum, 64 operations where a
// fused multiply-add has 32, and weights need no widening. A (row, output) is a sum over pairs of
// values in their order, whatever the tile.
#include <cstring>

#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/vector.h"
#include "kernels/cpu/avx512_bf16/avx512_bf16.h"
#include "kernels/cpu/generic/pack.h"
#include "kernels/cpu/generic/packed.h"
// After the vector that it is written in.
#include "kernels/cpu/generic/finish.inc"

namespace sluice::kernels::avx512_bf16 {
namespace {

using core::DType;

constexpr int64_t kRowBytes = 64;  // a pair of values of 16 outputs, or 32 values of a row
constexpr int64_t kRowValues = 32;
constexpr int kVectors = 4;

constexpr int64_t pairs_of(int64_t inputs) {
  return (inputs + 1) / 2;
}
constexpr int64_t row_bytes(int64_t inputs) {
  return (inputs + kRowValues - 1) / kRowValues * kRowBytes;
}

// kRows rows from `row` on × kPanels panels of outputs from `output` on.
template <int kRows, int kPanels>
inline void tile(const LinearArgs& args, int64_t row, int64_t output) {
  const int64_t pairs = pairs_of(args.weights.inputs), stride = row_bytes(args.weights.inputs);
  const std::byte* x = args.x_packed + row * stride;
  const std::byte* weights = args.weights.data + output / kPanel * pairs * kRowBytes;
  __m512 sums[kRows][kPanels];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
    for (int p = 0; p < kPanels; ++p) sums[r][p] = _mm512_setzero_ps();
  for (int64_t k = 0; k < pairs; ++k) {
    __m512bh w[kPanels];
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p)
      w[p] = (__m512bh)Vector::load_ints(weights + (p * pairs + k) * kRowBytes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      // Not _mm512_set1_epi32: clang 16 crashes where it folds that into the product.
      const auto both = (__m512bh)_mm512_broadcastd_epi32(_mm_loadu_si32(x + r * stride + k * 4));
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) sums[r][p] = _mm512_dpbf16_ps(sums[r][p], w[p], both);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int p = 0; p < kPanels; ++p) finish(args, row + r, output + p * kPanel, sums[r][p]);
}

template <int kPanels>
void all_rows(const LinearArgs& args, int64_t output) {
  int64_t row = 0;
  for (; row + Vector::kTileRows <= args.rows; row += Vector::kTileRows)
    tile<Vector::kTileRows, kPanels>(args, row, output);
  for (; row < args.rows; ++row) tile<1, kPanels>(args, row, output);
}

}  // namespace

int64_t packed_bytes(DType type, int64_t outputs, int64_t inputs) {
  if (type != DType::kBF16) return cpu::packed_bytes(type, outputs, inputs);
  return (outputs + kPanel - 1) / kPanel * pairs_of(inputs) * kRowBytes;
}

void pack(const PackArgs& args, int thread, int threads) {
  if (args.type != DType::kBF16) return cpu::pack(args, thread, threads);
  const Share outputs = share_of(args.outputs, kPanel, thread, threads);
  const int64_t panel_bytes = pairs_of(args.inputs) * kRowBytes;
  for (int64_t first = outputs.begin; first < outputs.end; first += kPanel) {
    std::byte* panel = args.packed + first / kPanel * panel_bytes;
    std::memset(panel, 0, static_cast<size_t>(panel_bytes));
    for (int64_t lane = 0; lane < kPanel && first + lane < args.outputs; ++lane) {
      const std::byte* from = args.weights + (first + lane) * args.inputs * 2;
      for (int64_t k = 0; k < args.inputs; ++k)
        std::memcpy(panel + k / 2 * kRowBytes + lane * 4 + k % 2 * 2, from + k * 2, 2);
    }
  }
}

ActivationForm activation_form(DType weights) {
  return weights == DType::kBF16 ? ActivationForm::kBf16 : cpu::activation_form(weights);
}

int64_t activation_bytes(ActivationForm form, int64_t rows, int64_t inputs) {
  if (form != ActivationForm::kBf16) return cpu::activation_bytes(form, rows, inputs);
  return rows * row_bytes(inputs);
}

void quantize_activations(const QuantizeArgs& args, int thread, int threads) {
  if (args.form != ActivationForm::kBf16)
    return avx512::quantize_activations(args, thread, threads);
  const auto some = [](const float* x, int64_t left) {
    return left <= 0 ? _mm512_setzero_ps() : Vector::load_first(x, left < 16 ? left : 16);
  };
  const Share rows = share_of(args.rows, 1, thread, threads);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const float* x = args.x + row * args.inputs;
    std::byte* to = args.packed + row * row_bytes(args.inputs);
    for (int64_t k = 0; k < args.inputs; k += kRowValues, to += kRowBytes) {
      const int64_t left = args.inputs - k;
      const __m512 first = some(x + k, left), second = some(x + k + 16, left - 16);
      _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(second, first));
    }
  }
}

void linear(const LinearArgs& args, int thread, int threads) {
  if (args.weights.type != DType::kBF16) return avx512::linear(args, thread, threads);
  const Share outputs = share_of(args, kPanel, thread, threads);
  int64_t output = outputs.begin;
  for (; output + kVectors * kPanel <= outputs.end; output += kVectors * kPanel)
    all_rows<kVectors>(args, output);
  for (; output < outputs.end; output += kPanel) all_rows<1>(args, output);
}

}  // namespace sluice::kernels::avx512_bf16
