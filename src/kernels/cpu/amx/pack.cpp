#include "kernels/cpu/generic/pack.h"

#include <algorithm>

#include "core/math.h"
#include "core/thread_pool.h"
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/bf16_layout.h"
#include "kernels/cpu/amx/planes_layout.h"
#include "kernels/cpu/amx/wide_layout.h"
#include "kernels/half.h"

namespace sluice::kernels::amx {
namespace {

using core::DType;

bool becomes_bf16(DType type) {
  return type == DType::kF16 || type == DType::kBF16;
}

// The panel of outputs [first, first + 16): tiles, zeros where there is no weight.
void pack_bf16_panel(const PackArgs& args, int64_t first, std::byte* panel) {
  const auto* weights = reinterpret_cast<const uint16_t*>(args.weights);
  const int64_t lanes = std::min(kPanel, args.outputs - first);
  auto* pairs = reinterpret_cast<uint16_t*>(panel);
  for (int64_t k = 0; k < core::round_up(args.inputs, kBlock); ++k)
    for (int64_t lane = 0; lane < kPanel; ++lane) {
      uint16_t value = 0;
      if (lane < lanes && k < args.inputs) value = weights[(first + lane) * args.inputs + k];
      if (args.type == DType::kF16) value = bf16_of_float(float_of_f16(value));
      pairs[(k / 2 * kPanel + lane) * 2 + k % 2] = value;
    }
}

}  // namespace

int64_t packed_bytes(DType type, int64_t outputs, int64_t inputs) {
  if (has_planes(type))
    return core::div_ceil(outputs, kPanel) * PlaneWeights{has_minima(type)}.panel_bytes(inputs);
  if (becomes_bf16(type)) return core::div_ceil(outputs, kPanel) * bf16_panel_bytes(inputs);
  if (type == DType::kF32) return cpu::packed_bytes(type, outputs, inputs);
  return visit_wide(type, [&]<WideFormat kFormat>() {
    return core::div_ceil(outputs, kPanel) * WideWeights<kFormat>::panel_bytes(inputs);
  });
}

void pack(const PackArgs& args, int thread, int threads) {
  if (has_planes(args.type)) return pack_planes(args, thread, threads);
  if (args.type == DType::kF32) return cpu::pack(args, thread, threads);
  if (!becomes_bf16(args.type)) return pack_wide(args, thread, threads);
  const core::Range outputs = core::split(args.outputs, kPanel, thread, threads);
  for (int64_t first = outputs.begin; first < outputs.end; first += kPanel)
    pack_bf16_panel(args, first, args.packed + first / kPanel * bf16_panel_bytes(args.inputs));
}

ActivationForm activation_form(DType weights) {
  if (has_planes(weights)) return ActivationForm::kPlanes;
  if (becomes_bf16(weights)) return ActivationForm::kBf16;
  return weights == DType::kF32 ? ActivationForm::kF32 : ActivationForm::kWidePlanes;
}

int64_t activation_bytes(ActivationForm form, int64_t rows, int64_t inputs) {
  if (form == ActivationForm::kBf16) return TileActivations{inputs, rows}.bytes();
  // A step of fewer rows may use the same memory.
  const auto few = [&](int64_t tile_rows_min) { return std::min(rows, tile_rows_min - 1); };
  const int64_t few_bytes = form == ActivationForm::kPlanes
                                ? FewRows{inputs, few(kPlaneTileRowsMin)}.bytes()
                                : WideFewRows{inputs, few(kWideTileRowsMin)}.bytes();
  return std::max(TileRows{inputs, rows}.bytes(), few_bytes);
}

}  // namespace sluice::kernels::amx
