// PlanesOnHost as plain loops.
#include <cstring>

#include "kernels/device_weights.h"
#include "kernels/half.h"
#include "kernels/ref/ref_device_ops.h"

namespace sluice::kernels::ref {

void device_unpack(const BroughtMatrix& m) {
  const PlanesOnHost layout{m.layout == PackedLayout::kPlanesWithMinima};
  const int64_t blocks = m.inputs / PlanesOnHost::kBlock;
  auto* scales = reinterpret_cast<uint16_t*>(
      m.to + device_scales_at(brought_type(m.layout), m.outputs, m.inputs));
  for (int64_t output = 0; output < m.outputs; ++output) {
    const int64_t lane = output % PlanesOnHost::kPanel;
    const std::byte* panel = m.from + output / PlanesOnHost::kPanel * layout.panel_bytes(m.inputs);
    float unit = 0;
    std::memcpy(&unit, panel + lane * 4, sizeof unit);
    for (int64_t block = 0; block < blocks; ++block) {
      const std::byte* pair = panel + PlanesOnHost::kHeaderBytes + block / 2 * layout.pair_bytes();
      const int64_t to = output * blocks + block;
      for (int64_t j = 0; j < 4; ++j)
        std::memcpy(m.to + to * 16 + j * 4,
                    pair + block % 2 * PlanesOnHost::kCodeBytes + j * 64 + lane * 4, 4);
      const auto* high = reinterpret_cast<const int8_t*>(pair) + 2 * PlanesOnHost::kCodeBytes +
                         block % 2 * 2 * layout.digit_bytes();
      const int8_t* low = high + layout.digit_bytes();
      const auto number = [&](int64_t at) {
        return unit * static_cast<float>(PlanesOnHost::kBase * high[at] + low[at]);
      };
      if (!layout.minima) {
        scales[to] = f16_of_float(number(lane));
        continue;
      }
      const float scale = number(2 * lane);
      scales[2 * to] = f16_of_float(scale);
      scales[2 * to + 1] = f16_of_float(number(2 * lane + 1) - 8 * scale);
    }
  }
}

}  // namespace sluice::kernels::ref
