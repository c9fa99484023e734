// A view of values that someone else owns.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/dtype.h"

namespace sluice::core {

inline constexpr int kTensorDimsMax = 4;

// Row-major; shape[0] is the outermost dimension, the last used one is contiguous (a GGUF file
// lists them the other way round). A matrix of a linear layer is (rows = outputs, columns =
// inputs).
struct TensorView {
  DType type = DType::kF32;
  int dims = 0;
  std::array<int64_t, kTensorDimsMax> shape{};  // [0, dims) used
  const std::byte* data = nullptr;

  int64_t values() const {
    int64_t n = 1;
    for (int d = 0; d < dims; ++d) n *= shape[static_cast<size_t>(d)];
    return n;
  }
  int64_t columns() const { return dims == 0 ? 1 : shape[static_cast<size_t>(dims - 1)]; }
  int64_t rows() const { return columns() == 0 ? 0 : values() / columns(); }
  int64_t bytes() const { return bytes_of(type, values()); }
  int64_t row_bytes() const { return bytes_of(type, columns()); }
};

// "576×1536" for messages.
std::string shape_text(const TensorView& view);

}  // namespace sluice::core
