#include "model/stored_matrix.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <span>

#include "core/math.h"
#include "kernels/half.h"
#include "kernels/ops.h"

namespace sluice::model {
namespace {

using core::DType;
using kernels::Int4Matrix;
using kernels::Int8Matrix;
using kernels::Mxfp4Matrix;

constexpr int64_t kBlock = 32;
constexpr int64_t kHalfBlock = kBlock / 2;

// The codes of a block that begins at place c: of input input_at(i) at place i.
template <typename InputAt>
void put_codes(const Int4Matrix& values, int64_t row, const InputAt& input_at, int64_t c,
               std::byte* to) {
  const auto code = [&](int64_t at) { return int4_code(values, row, input_at(at)); };
  for (int64_t i = 0; i < kHalfBlock; ++i)
    to[i] = std::byte(code(c + i) | code(c + i + kHalfBlock) << 4);
}

// Where a byte has two neighbours' codes, `first` the first of all rows'; without calls, which the
// compiler turns into vectors.
void put_neighbours(const Int4Matrix& values, int64_t first, std::byte* to) {
  const auto* from = reinterpret_cast<const uint8_t*>(values.codes) + first / 2;
  uint8_t codes[kBlock];
  for (int64_t i = 0; i < kHalfBlock; ++i) {
    codes[2 * i] = from[i] & 15;
    codes[2 * i + 1] = from[i] >> 4;
  }
  for (int64_t i = 0; i < kHalfBlock; ++i)
    to[i] = static_cast<std::byte>(codes[i] | codes[i + kHalfBlock] << 4);
}

// Rows in blocks of StoredMatrix::joined, one at a time.
class RowJoiner {
 public:
  explicit RowJoiner(const StoredMatrix& m) : m_(m) {}

  void join(int64_t row, std::byte* out) const {
    std::visit([&](const auto& values) { join(values, row, out); }, m_.values);
  }

  // In blocks of StoredMatrix::sorted.
  void join_sorted(int64_t row, std::byte* out) const {
    const auto& values = std::get<Int4Matrix>(m_.values);
    join_blocks(values, m_.sorted, row, out, [&](int64_t c, std::byte* to) {
      put_codes(
          values, row, [this](int64_t i) { return m_.input_order[i]; }, c, to);
    });
  }

 private:
  void join(const std::byte* blocks, int64_t row, std::byte* out) const {
    const int64_t row_bytes = core::bytes_of(m_.joined, m_.columns);
    std::memcpy(out, blocks + row * row_bytes, static_cast<size_t>(row_bytes));
  }

  void join(const Fp8Matrix& values, int64_t row, std::byte* out) const {
    const std::byte* codes = values.codes + row * m_.columns;
    const float* scales =
        values.scales + row / kScaleBlock * core::div_ceil(m_.columns, kScaleBlock);
    for (int64_t c = 0; c < m_.columns; c += kScaleBlock) {
      out = put(*scales++, out);
      std::memcpy(out, codes + c, kScaleBlock);
      out += kScaleBlock;
    }
  }

  void join(const Int8Matrix& values, int64_t row, std::byte* out) const {
    if (m_.joined == DType::kF32)
      return decode_int8_row(values, row, reinterpret_cast<float*>(out));
    const float scale = kernels::load_scale(values.scale_type, values.scales, row);
    for (int64_t c = 0; c < m_.columns; c += kBlock) {
      out = put(scale, out);
      std::memcpy(out, values.codes + row * m_.columns + c, kBlock);
      out += kBlock;
    }
  }

  void join(const Int4Matrix& values, int64_t row, std::byte* out) const {
    if (m_.joined == DType::kF32)
      return decode_int4_row(values, row, reinterpret_cast<float*>(out));
    const bool has_neighbours = values.layout == kernels::Int4Layout::kCompressedTensors;
    join_blocks(values, m_.joined, row, out, [&](int64_t c, std::byte* to) {
      if (has_neighbours)
        put_neighbours(values, row * m_.columns + c, to);
      else
        put_codes(
            values, row, [](int64_t i) { return i; }, c, to);
    });
  }

  // put_block(c, to): the codes of the block at place c.
  template <typename Put>
  void join_blocks(const Int4Matrix& values, DType type, int64_t row, std::byte* out,
                   const Put& put_block) const {
    for (int64_t c = 0; c < m_.columns; c += kBlock) {
      const int64_t group = c / values.group;
      out = put(int4_scale(values, row, group), out);
      if (type == DType::kI4_Z32) *out++ = std::byte(int4_zero(values, row, group));
      put_block(c, out);
      out += kHalfBlock;
    }
  }

  void join(const Mxfp4Matrix& values, int64_t row, std::byte* out) const {
    const uint8_t* codes = values.codes + row * m_.columns / 2;
    const uint8_t* scales = values.scales + row * m_.columns / kBlock;
    const auto code = [&](int64_t i) { return codes[i / 2] >> (i % 2 * 4) & 15; };
    for (int64_t c = 0; c < m_.columns; c += kBlock) {
      *out++ = std::byte(*scales++);
      for (int64_t i = 0; i < kHalfBlock; ++i)
        *out++ = std::byte(code(c + i) | code(c + i + kHalfBlock) << 4);
    }
  }

  static std::byte* put(float scale, std::byte* out) {
    std::memcpy(out, &scale, sizeof scale);
    return out + sizeof scale;
  }

  const StoredMatrix& m_;
};

void store(DType type, std::byte* out, int64_t index, float value) {
  if (type == DType::kF32) {
    std::memcpy(out + index * 4, &value, sizeof value);
  } else {
    kernels::store_u16(out + index * 2, type == DType::kF16 ? kernels::f16_of_float(value)
                                                            : kernels::bf16_of_float(value));
  }
}

// Where a block has f16 numbers: its scales and minima.
std::span<const int64_t> scale_places(DType type) {
  static constexpr int64_t kFirst[] = {0, 2}, kQ2[] = {80, 82}, kQ3[] = {108}, kQ6[] = {208};
  switch (type) {
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kQ8_0:
    case DType::kIQ4_NL:
    case DType::kIQ4_XS:
      return std::span(kFirst).first(1);
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return kFirst;
    case DType::kQ2_K:
      return kQ2;
    case DType::kQ3_K:
      return kQ3;
    case DType::kQ6_K:
      return kQ6;
    default:
      return {};
  }
}

// Whether any of `count` numbers, `stride` bytes apart, has all of its exponent's bits.
bool has_special_scale(const std::byte* at, int64_t stride, int64_t count) {
  bool found = false;
  for (int64_t i = 0; i < count; ++i)
    found |= (kernels::load_u16(at + i * stride) & 0x7c00) == 0x7c00;
  return found;
}

// The same of numbers that lie close: all bits of `mask`. In runs of a known length, which a
// compiler turns into vectors (5 times as fast as one by one).
template <typename Bits>
bool has_special(const std::byte* at, int64_t count, Bits mask) {
  constexpr int64_t kRun = 64;
  Bits found = 0;
  for (; count >= kRun; count -= kRun, at += kRun * static_cast<int64_t>(sizeof(Bits))) {
    Bits run[kRun];
    std::memcpy(run, at, sizeof run);
    for (const Bits bits : run) found |= static_cast<Bits>(-((bits & mask) == mask));
  }
  for (; count > 0; --count, at += sizeof(Bits)) {
    Bits bits;
    std::memcpy(&bits, at, sizeof bits);
    found |= static_cast<Bits>(-((bits & mask) == mask));
  }
  return found != 0;
}

bool has_large_exponent(const std::byte* at, int64_t stride, int64_t count) {
  bool found = false;
  for (int64_t i = 0; i < count; ++i)
    found |= std::to_integer<uint8_t>(at[i * stride]) > kMxfp4ExponentMax;
  return found;
}

bool is_row_finite(DType type, const std::byte* row, int64_t columns) {
  if (type == DType::kF32) return !has_special<uint32_t>(row, columns, 0x7f800000);
  if (type == DType::kBF16) return !has_special<uint16_t>(row, columns, 0x7f80);
  if (type == DType::kF16) return !has_special<uint16_t>(row, columns, 0x7c00);
  const core::DTypeInfo& info = core::info(type);
  const int64_t blocks = columns / info.block_values;
  if (type == DType::kMXFP4) return !has_large_exponent(row, info.block_bytes, blocks);
  const auto places = scale_places(type);
  return std::none_of(places.begin(), places.end(), [&](int64_t place) {
    return has_special_scale(row + place, info.block_bytes, blocks);
  });
}

}  // namespace

std::optional<int64_t> find_row_not_finite(const StoredMatrix& m, core::Range range) {
  const auto* blocks = std::get_if<const std::byte*>(&m.values);
  const auto* fp8 = std::get_if<Fp8Matrix>(&m.values);
  if (blocks == nullptr && fp8 == nullptr) return std::nullopt;
  const int64_t row_bytes = fp8 != nullptr ? m.columns : core::bytes_of(m.joined, m.columns);
  const std::byte* const first = (fp8 != nullptr ? fp8->codes : *blocks) + m.first_row * row_bytes;
  for (int64_t row = range.begin; row < range.end; ++row) {
    const std::byte* const at = first + row * row_bytes;
    const bool is_finite = fp8 != nullptr ? !has_special<uint8_t>(at, m.columns, 0x7f)
                                          : is_row_finite(m.joined, at, m.columns);
    if (!is_finite) return row;
  }
  return std::nullopt;
}

const std::byte* StoredMatrix::in_place() const {
  const auto* blocks = std::get_if<const std::byte*>(&values);
  if (blocks == nullptr || order == Order::kTransposed || type != joined) return nullptr;
  return *blocks + first_row * core::bytes_of(joined, columns);
}

StoredMatrix StoredMatrix::part(int64_t first, int64_t count) const {
  StoredMatrix some = *this;
  some.first_row = first_row + first;
  some.rows = count;
  some.bytes = bytes * count / rows;
  // Of the first tensor, which has the codes, the rows' share; scales belong to all parts.
  core::TensorView& codes = some.tensors.front();
  const int64_t row_bytes = codes.bytes() / rows;
  codes = {.type = DType::kU8,
           .dims = 1,
           .shape = {count * row_bytes},
           .data = codes.data + first * row_bytes};
  some.tensors.resize(1);
  return some;
}

StoredMatrix stored_blocks(const core::TensorView& view) {
  return {.values = view.data,
          .columns = view.columns(),
          .rows = view.rows(),
          .joined = view.type,
          .type = view.type,
          .bytes = view.bytes(),
          .tensors = {view}};
}

std::vector<int32_t> inputs_by_group(const Int4Matrix& matrix) {
  std::vector<int32_t> order(static_cast<size_t>(matrix.inputs));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return matrix.group_of_input[a] < matrix.group_of_input[b];
  });
  return order;
}

void decode_row(const StoredMatrix& m, int64_t row, float* out) {
  const int64_t row_bytes = core::bytes_of(m.joined, m.columns);
  const int64_t at = m.first_row + row;
  if (const auto* blocks = std::get_if<const std::byte*>(&m.values))
    return kernels::decode(m.joined, *blocks + at * row_bytes, m.columns, out);
  std::vector<std::byte> joined(static_cast<size_t>(row_bytes));
  RowJoiner(m).join(at, joined.data());
  kernels::decode(m.joined, joined.data(), m.columns, out);
}

void assemble(const StoredMatrix& m, core::Range range, std::byte* out) {
  const RowJoiner joiner(m);
  const int64_t row_bytes = core::bytes_of(m.joined, m.columns);
  const bool is_joined = m.type == m.joined && m.order == Order::kAsStored;
  std::vector<std::byte> blocks(static_cast<size_t>(is_joined ? 0 : row_bytes));
  std::vector<float> values(static_cast<size_t>(is_joined ? 0 : m.columns));
  if (m.input_order != nullptr) {
    const int64_t sorted_bytes = core::bytes_of(m.sorted, m.columns);
    for (int64_t r = range.begin; r < range.end; ++r)
      joiner.join_sorted(m.first_row + r, out + r * sorted_bytes);
    return;
  }
  for (int64_t r = range.begin; r < range.end; ++r) {
    if (is_joined) {
      joiner.join(m.first_row + r, out + r * row_bytes);
      continue;
    }
    joiner.join(m.first_row + r, blocks.data());
    kernels::decode(m.joined, blocks.data(), m.columns, values.data());
    const bool transposed = m.order == Order::kTransposed;
    for (int64_t c = 0; c < m.columns; ++c)
      store(m.type, out, transposed ? c * m.rows + r : r * m.columns + c,
            values[static_cast<size_t>(c)]);
  }
}

}  // namespace sluice::model
