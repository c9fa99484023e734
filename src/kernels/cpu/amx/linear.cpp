#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/avx512/avx512.h"

namespace sluice::kernels::amx {

void quantize_activations(const QuantizeArgs& args, int thread, int threads) {
  if (args.form == ActivationForm::kBf16) return quantize_bf16(args, thread, threads);
  if (args.form == ActivationForm::kInt8Rows) return quantize_int8_rows(args, thread, threads);
  quantize_planes(args, thread, threads);
}

void linear(const LinearArgs& args, int thread, int threads) {
  switch (activation_form(args.weights.type)) {
    case ActivationForm::kBf16:
      if (args.weights.type == core::DType::kF8_B128) return linear_f8(args, thread, threads);
      return linear_bf16(args, thread, threads);
    case ActivationForm::kPlanes:
      return linear_planes(args, thread, threads);
    case ActivationForm::kWidePlanes:
      return linear_wide(args, thread, threads);
    case ActivationForm::kInt8Rows:
      return linear_int8_rows(args, thread, threads);
    case ActivationForm::kInt8:
    case ActivationForm::kF32:
      return avx512::linear(args, thread, threads);
  }
}

// Of two groups of rows and fewer the products are bound by the weights' way, not by the results'.
bool can_gate(const GatedArgs& args) {
  const PackedWeights &gate = args.gate, &up = args.up;
  if (gate.type != up.type || gate.outputs != up.outputs || gate.inputs != up.inputs) return false;
  if (args.rows <= 2 * kTileRows) return false;
  switch (activation_form(gate.type)) {
    case ActivationForm::kBf16:
      return gate.type != core::DType::kF8_B128 && args.packed != nullptr &&
             gate.outputs % kBlock == 0;
    case ActivationForm::kPlanes:
    case ActivationForm::kWidePlanes:
      return args.y != nullptr;
    case ActivationForm::kInt8Rows:
    case ActivationForm::kInt8:
    case ActivationForm::kF32:
      return false;
  }
  return false;
}

void gated(const GatedArgs& args, int thread, int threads) {
  switch (activation_form(args.gate.type)) {
    case ActivationForm::kBf16:
      return gated_bf16(args, thread, threads);
    case ActivationForm::kPlanes:
      return gated_planes(args, thread, threads);
    default:
      return gated_wide(args, thread, threads);
  }
}

}  // namespace sluice::kernels::amx
