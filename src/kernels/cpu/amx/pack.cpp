#include "kernels/cpu/generic/pack.h"

#include <algorithm>

#include "core/math.h"
#include "core/thread_pool.h"
#include "kernels/cpu/amx/amx.h"
#include "kernels/cpu/amx/f8_layout.h"
#include "kernels/cpu/amx/planes_layout.h"
#include "kernels/cpu/amx/tile_layout.h"
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

// The same of int8 rows, and the panel's scales.
void pack_int8_panel(const PackArgs& args, const TileWeights& layout, int64_t first) {
  const core::DTypeInfo& type = core::info(args.type);
  const int64_t row_bytes = core::bytes_of(args.type, args.inputs);
  std::byte* panel = args.packed + first / kPanel * layout.panel_bytes();
  std::memset(panel, 0, static_cast<size_t>(layout.panel_bytes()));
  auto* scales = reinterpret_cast<float*>(args.packed + layout.scales_at()) + first;
  std::fill_n(scales, kPanel, 0.0f);
  for (int64_t lane = 0; lane < std::min(kPanel, args.outputs - first); ++lane) {
    const std::byte* block = args.weights + (first + lane) * row_bytes;
    std::memcpy(scales + lane, block, sizeof(float));
    for (int64_t k = 0; k < args.inputs; k += kBlock, block += type.block_bytes)
      for (int64_t i = 0; i < kBlock; i += 4)
        std::memcpy(panel + (k + i) / 4 * kRowBytes + lane * 4, block + sizeof(float) + i, 4);
  }
}

}  // namespace

int64_t packed_bytes(DType type, int64_t outputs, int64_t inputs) {
  if (has_planes(type))
    return core::div_ceil(outputs, kPanel) * PlaneWeights{has_minima(type)}.panel_bytes(inputs);
  if (type == DType::kF8_B128)
    return core::div_ceil(outputs, kPanel) * F8Weights{inputs}.panel_bytes();
  if (type == DType::kI8_B32) return TileWeights{outputs, inputs, kInt8TileValues}.bytes();
  if (becomes_bf16(type)) return TileWeights{outputs, inputs}.bytes();
  if (type == DType::kF32) return cpu::packed_bytes(type, outputs, inputs);
  return visit_wide(type, [&]<WideFormat kFormat>() {
    return core::div_ceil(outputs, kPanel) * WideWeights<kFormat>::panel_bytes(inputs);
  });
}

void pack(const PackArgs& args, int thread, int threads) {
  if (has_planes(args.type)) return pack_planes(args, thread, threads);
  if (args.type == DType::kF8_B128) return pack_f8(args, thread, threads);
  if (args.type == DType::kF32) return cpu::pack(args, thread, threads);
  const bool is_int8 = args.type == DType::kI8_B32;
  if (!is_int8 && !becomes_bf16(args.type)) return pack_wide(args, thread, threads);
  const TileWeights layout{args.outputs, args.inputs, is_int8 ? kInt8TileValues : kBf16TileValues};
  const core::Range outputs = core::split(args.outputs, kPanel, thread, threads);
  for (int64_t first = outputs.begin; first < outputs.end; first += kPanel) {
    if (is_int8)
      pack_int8_panel(args, layout, first);
    else
      pack_bf16_panel(args, first, args.packed + first / kPanel * layout.panel_bytes());
  }
}

ActivationForm activation_form(DType weights) {
  if (has_planes(weights)) return ActivationForm::kPlanes;
  if (weights == DType::kI8_B32) return ActivationForm::kInt8Rows;
  if (becomes_bf16(weights) || weights == DType::kF8_B128) return ActivationForm::kBf16;
  return weights == DType::kF32 ? ActivationForm::kF32 : ActivationForm::kWidePlanes;
}

int64_t activation_bytes(ActivationForm form, int64_t rows, int64_t inputs) {
  if (form == ActivationForm::kBf16) return TileActivations{inputs, rows}.bytes();
  if (form == ActivationForm::kInt8Rows)
    return TileActivations{inputs, rows, kInt8TileValues}.bytes();
  // A step of fewer rows may use the same memory.
  const auto few = [&](int64_t tile_rows_min) { return std::min(rows, tile_rows_min - 1); };
  const int64_t few_bytes = form == ActivationForm::kPlanes
                                ? FewRows{inputs, few(kPlaneTileRowsMin)}.bytes()
                                : WideFewRows{inputs, few(kWideTileRowsMin)}.bytes();
  return std::max(TileRows{inputs, rows}.bytes(), few_bytes);
}

}  // namespace sluice::kernels::amx
