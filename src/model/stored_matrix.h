// A matrix as a checkpoint stores it: rows of a tensor, with the scales that another tensor holds.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace sluice::model {

// DeepSeek's FP8: value · scale[row / 128, column / 128].
inline constexpr int64_t kScaleBlock = 128;

enum class Order { kAsStored, kTransposed };

struct StoredMatrix {
  core::TensorView view{};        // all rows of the tensor
  const float* scales = nullptr;  // (rows / 128, columns / 128) rounded up, of view type F8_E4M3
  int64_t first_row = 0;
  int64_t rows = 0;  // of the tensor, from first_row on
  Order order = Order::kAsStored;
  core::DType type = core::DType::kF32;  // of what assemble() gives

  int64_t outputs() const { return order == Order::kAsStored ? rows : view.columns(); }
  int64_t inputs() const { return order == Order::kAsStored ? view.columns() : rows; }
  int64_t bytes() const { return rows * view.row_bytes(); }
  core::TensorView stored_rows() const;
  // The matrix where it lies; null where it must be assembled.
  const std::byte* in_place() const;
};

// Puts `range` of the tensor's rows (from 0 to `rows`) to their places in out, (outputs, inputs) in
// blocks of `type`: the stored one, F8_B128 for F8_E4M3 with scales, or F32, F16, BF16.
void assemble(const StoredMatrix& matrix, core::Range range, std::byte* out);

}  // namespace sluice::model
