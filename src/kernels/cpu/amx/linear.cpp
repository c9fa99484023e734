#include "kernels/cpu/amx/amx.h"
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

}  // namespace sluice::kernels::amx
