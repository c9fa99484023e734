// PlanesOnHost and E4m3OnHost as plain loops.
#include <algorithm>
#include <cstring>
#include <set>

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

void device_pick(const DevicePickArgs& args) {
  const auto choices = static_cast<size_t>(args.rows * args.used);
  std::set<int32_t> chosen;
  for (size_t i = 0; i < choices; ++i)
    if (const int32_t id = args.ids[i]; id >= 0 && (args.slots == nullptr || args.slots[id] < 0))
      chosen.insert(id);
  const int32_t count = std::min(pulled_experts(static_cast<int32_t>(chosen.size()), args.share),
                                 args.cards * args.room);
  std::fill_n(args.slot_of, args.experts, -1);
  args.taken[0] = 0;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t expert = *chosen.rbegin();
    chosen.erase(expert);
    if (i % args.cards != args.card) continue;
    args.slot_of[expert] = args.taken[0]++;
    args.taken[args.taken[0]] = expert;
  }
  std::transform(args.ids, args.ids + choices, args.host_ids,
                 [&](int32_t id) { return chosen.contains(id) ? id : -1; });
}

void device_pull(const DevicePullArgs& args) {
  for (int32_t i = 0; i < args.taken[0]; ++i)
    for (size_t s = 0; s < args.stacks.size(); ++s) {
      const PulledStack& stack = args.stacks[s];
      device_unpack({.layout = stack.layout,
                     .outputs = stack.outputs,
                     .inputs = stack.inputs,
                     .from = args.from[static_cast<size_t>(args.taken[1 + i]) * kPulledStacks + s],
                     .to = stack.to + i * stack.stride_bytes});
    }
}

}  // namespace sluice::kernels::ref
