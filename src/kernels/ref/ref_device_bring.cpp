// PlanesOnHost and E4m3OnHost as plain loops.
#include <cstring>

#include "kernels/device_weights.h"
#include "kernels/half.h"
#include "kernels/ref/ref_device_ops.h"

namespace sluice::kernels::ref {
namespace {

void unpack_e4m3(const BroughtMatrix& m) {
  using Host = E4m3OnHost;
  const int64_t blocks = m.inputs / Host::kBlock;
  std::byte* scales = m.to + device_scales_at(core::DType::kF8_B128, m.outputs, m.inputs);
  for (int64_t output = 0; output < m.outputs; ++output)
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t lane = output % Host::kPanel;
      const std::byte* block = m.from + (output / Host::kPanel * blocks + b) * Host::kBlockBytes;
      for (int64_t i = 0; i < Host::kBlock; ++i) {
        const int64_t at = i / Host::kTile * Host::kTileBytes + i % Host::kTile / 4 * 64 +
                           Host::first_byte(lane) + i % 4 / 2 * 8 + i % 2;
        m.to[output * m.inputs + b * Host::kBlock + i] = block[at];
      }
      std::memcpy(scales + (output * blocks + b) * 4, block + Host::kScalesAt + lane * 4, 4);
    }
}

}  // namespace

void device_unpack(const BroughtMatrix& m) {
  if (m.layout == PackedLayout::kE4m3) return unpack_e4m3(m);
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
