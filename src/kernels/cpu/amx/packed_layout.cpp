#include "kernels/cpu/amx/planes_layout.h"
#include "kernels/device_bring.h"
#include "kernels/ops.h"

namespace sluice::kernels {

static_assert(PlanesOnHost::kPanel == kPanel && PlanesOnHost::kBase == amx::kBase &&
              PlanesOnHost::kHeaderBytes == amx::kHeaderBytes);
static_assert(PlanesOnHost{false}.panel_bytes(96) == amx::PlaneWeights{false}.panel_bytes(96) &&
              PlanesOnHost{true}.panel_bytes(64) == amx::PlaneWeights{true}.panel_bytes(64));

PackedLayout packed_layout(const Ops& ops, core::DType type) {
  if (ops.pack != amx::pack || !amx::has_planes(type)) return PackedLayout::kUnknown;
  return amx::has_minima(type) ? PackedLayout::kPlanesWithMinima : PackedLayout::kPlanes;
}

}  // namespace sluice::kernels
