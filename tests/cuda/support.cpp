#include "tests/cuda/support.h"

#include "kernels/cuda/card.h"
#include "kernels/device_weights.h"
#include "kernels/half.h"
#include "tests/kernels/support.h"

namespace sluice::kernels {

const Card& card() {
  static const Card opened = [] {
    auto device = open_cuda();
    if (device.ok())
      fmt::print("{}, code for sm_{}\n", (*device)->info().name, cuda::code_of_card());
    return device.ok() ? Card{std::move(*device), {}} : Card{nullptr, device.error().message};
  }();
  return opened;
}

std::vector<float> floats_of(const std::vector<uint16_t>& values, float (*decode)(uint16_t)) {
  std::vector<float> floats;
  for (const uint16_t v : values) floats.push_back(decode(v));
  return floats;
}
std::vector<uint16_t> bf16_of(const std::vector<float>& values) {
  std::vector<uint16_t> out;
  for (const float v : values) out.push_back(bf16_of_float(v));
  return out;
}
std::vector<std::byte> packed_of(core::Rng& rng, core::DType type, int64_t outputs,
                                 int64_t inputs) {
  const auto blocks = random_blocks(rng, type, outputs * inputs);
  std::vector<std::byte> packed(static_cast<size_t>(device_weight_bytes(type, outputs, inputs)));
  pack_for_device({.type = type,
                   .outputs = outputs,
                   .inputs = inputs,
                   .weights = blocks.data(),
                   .packed = packed.data()},
                  0, 1);
  return packed;
}

}  // namespace sluice::kernels
