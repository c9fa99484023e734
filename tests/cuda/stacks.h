// Random stacks of matrices for tests on a card.
#pragma once

#include "core/math.h"
#include "kernels/device_weights.h"
#include "tests/cuda/support.h"

namespace sluice::kernels {

struct StackShape {
  core::DType type = core::DType::kBF16;  // of a file
  int64_t outputs = 0;
  int64_t inputs = 0;
  int32_t count = 0;
};

// Aligned as weights that are loaded.
inline int64_t stack_stride(const StackShape& shape) {
  return core::round_up(device_weight_bytes(shape.type, shape.outputs, shape.inputs), 256);
}

inline std::vector<std::byte> stack_bytes(core::Rng& rng, const StackShape& shape) {
  std::vector<std::byte> all;
  for (int32_t i = 0; i < shape.count; ++i) {
    const auto one = packed_of(rng, shape.type, shape.outputs, shape.inputs);
    all.insert(all.end(), one.begin(), one.end());
    all.resize(static_cast<size_t>((i + 1) * stack_stride(shape)));
  }
  return all;
}

inline DeviceStack stack_at(const StackShape& shape, const std::byte* data) {
  return {{device_weight_type(shape.type), shape.outputs, shape.inputs, data},
          stack_stride(shape),
          shape.count};
}

}  // namespace sluice::kernels
