#include "kernels/cpu/amx/f8_layout.h"
#include "kernels/cpu/amx/planes_layout.h"
#include "kernels/device_bring.h"
#include "kernels/ops.h"

namespace sluice::kernels {

static_assert(PlanesOnHost::kPanel == kPanel && PlanesOnHost::kBase == amx::kBase &&
              PlanesOnHost::kHeaderBytes == amx::kHeaderBytes);
static_assert(PlanesOnHost{false}.panel_bytes(96) == amx::PlaneWeights{false}.panel_bytes(96) &&
              PlanesOnHost{true}.panel_bytes(64) == amx::PlaneWeights{true}.panel_bytes(64));

static_assert(E4m3OnHost::kPanel == kPanel && E4m3OnHost::kBlock == amx::F8Weights::kBlockValues &&
              E4m3OnHost::kScalesAt == amx::F8Weights::kScalesAt &&
              E4m3OnHost::kBlockBytes == amx::F8Weights::kBlockBytes);

PackedLayout packed_layout(const Ops& ops, core::DType type) {
  if (ops.pack != amx::pack) return PackedLayout::kUnknown;
  if (type == core::DType::kF8_B128) return PackedLayout::kE4m3;
  if (!amx::has_planes(type)) return PackedLayout::kUnknown;
  return amx::has_minima(type) ? PackedLayout::kPlanesWithMinima : PackedLayout::kPlanes;
}

}  // namespace sluice::kernels
