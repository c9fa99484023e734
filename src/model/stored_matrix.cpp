#include "model/stored_matrix.h"

#include <cstring>
#include <vector>

#include "core/math.h"
#include "kernels/half.h"
#include "kernels/ops.h"

namespace sluice::model {
namespace {

using core::DType;

// A row of FP8 in blocks that hold their own scale.
void join_scales(const StoredMatrix& m, int64_t row, std::byte* out) {
  const int64_t columns = m.view.columns();
  const std::byte* codes = m.view.data + row * columns;
  const float* scales = m.scales + row / kScaleBlock * core::div_ceil(columns, kScaleBlock);
  for (int64_t c = 0; c < columns; c += kScaleBlock) {
    std::memcpy(out, scales++, sizeof(float));
    std::memcpy(out + sizeof(float), codes + c, kScaleBlock);
    out += sizeof(float) + kScaleBlock;
  }
}

void store(DType type, std::byte* out, int64_t index, float value) {
  if (type == DType::kF32) {
    std::memcpy(out + index * 4, &value, sizeof value);
  } else {
    kernels::store_u16(out + index * 2, type == DType::kF16 ? kernels::f16_of_float(value)
                                                            : kernels::bf16_of_float(value));
  }
}

}  // namespace

core::TensorView StoredMatrix::stored_rows() const {
  core::TensorView part = view;
  part.dims = 2;
  part.shape = {rows, view.columns()};
  part.data = view.data + first_row * view.row_bytes();
  return part;
}

const std::byte* StoredMatrix::in_place() const {
  if (order == Order::kTransposed || type != view.type) return nullptr;
  return view.data + first_row * view.row_bytes();
}

void assemble(const StoredMatrix& m, core::Range range, std::byte* out) {
  const int64_t columns = m.view.columns();
  const DType joined = m.scales != nullptr ? DType::kF8_B128 : m.view.type;
  std::vector<std::byte> blocks(
      static_cast<size_t>(m.scales != nullptr ? core::bytes_of(joined, columns) : 0));
  std::vector<float> values(static_cast<size_t>(columns));
  for (int64_t r = range.begin; r < range.end; ++r) {
    const std::byte* row = m.view.data + (m.first_row + r) * m.view.row_bytes();
    if (m.type == DType::kF8_B128) {
      join_scales(m, m.first_row + r, out + r * core::bytes_of(m.type, columns));
      continue;
    }
    if (m.scales != nullptr) {
      join_scales(m, m.first_row + r, blocks.data());
      row = blocks.data();
    }
    kernels::decode(joined, row, columns, values.data());
    const bool transposed = m.order == Order::kTransposed;
    for (int64_t c = 0; c < columns; ++c)
      store(m.type, out, transposed ? c * m.rows + r : r * columns + c,
            values[static_cast<size_t>(c)]);
  }
}

}  // namespace sluice::model
