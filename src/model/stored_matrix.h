// A matrix as a checkpoint stores it: rows of a tensor, or of several that mean something together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "core/dtype.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "kernels/stored_formats.h"

namespace sluice::model {

// DeepSeek's FP8: value · scale[row / 128, column / 128].
inline constexpr int64_t kScaleBlock = 128;

// Of MXFP4's scales, e8m0: twice the value's half still is an f16.
inline constexpr uint8_t kMxfp4ExponentMax = 143;

struct Fp8Matrix {
  const std::byte* codes = nullptr;  // e4m3 (rows, columns), whole blocks in a row
  const float* scales = nullptr;     // (rows / 128, columns / 128), rounded up
};

// Blocks of `joined` where they lie, or a format of several tensors.
using StoredValues = std::variant<const std::byte*, Fp8Matrix, kernels::Int8Matrix,
                                  kernels::Int4Matrix, kernels::Mxfp4Matrix>;

enum class Order { kAsStored, kTransposed };

struct StoredMatrix {
  StoredValues values;
  int64_t columns = 0;
  int64_t first_row = 0;
  int64_t rows = 0;  // from first_row on
  // Blocks that hold a row without loss: the stored ones, or those that codes and scales are joined
  // to; F32 where there are none.
  core::DType joined = core::DType::kF32;
  // Of INT4 whose inputs lie in no order of their groups: blocks that hold a row whose inputs are
  // sorted by group; F32 where there are none.
  core::DType sorted = core::DType::kF32;
  const int32_t* input_order =
      nullptr;  // (columns) of what assemble() gives, in blocks of `sorted`
  Order order = Order::kAsStored;
  core::DType type = core::DType::kF32;     // of what assemble() gives
  int64_t bytes = 0;                        // of these rows in the checkpoint
  std::vector<core::TensorView> tensors{};  // that have no use once these rows are read

  int64_t outputs() const { return order == Order::kAsStored ? rows : columns; }
  int64_t inputs() const { return order == Order::kAsStored ? columns : rows; }
  // The matrix where it lies; null where it must be assembled.
  const std::byte* in_place() const;
  // Some of the rows.
  StoredMatrix part(int64_t first, int64_t count) const;
};

// A matrix in blocks of a type that decodes by itself, all rows of the tensor.
StoredMatrix stored_blocks(const core::TensorView& view);

// The inputs in the order of their groups, and in their own within a group.
std::vector<int32_t> inputs_by_group(const kernels::Int4Matrix& matrix);

// Row `row` of the matrix as it is stored, as floats: (columns).
void decode_row(const StoredMatrix& matrix, int64_t row, float* out);

// The first of `range` of the rows of a matrix in blocks, floats or FP8's codes whose scales, or
// values, are not all finite. The scales of formats of several tensors are not looked at, and their
// other codes are numbers.
std::optional<int64_t> find_row_not_finite(const StoredMatrix& matrix, core::Range range);

// Puts `range` of the rows (from 0 to `rows`) to their places in out, (outputs, inputs) in blocks
// of `type`: the joined one, the sorted one with an order of inputs, or F32, F16, BF16.
void assemble(const StoredMatrix& matrix, core::Range range, std::byte* out);

}  // namespace sluice::model
