#include "core/dtype.h"

#include "core/math.h"

namespace sluice::core {
namespace {

constexpr DTypeInfo kTypes[kStoredDTypeCount] = {
    {DType::kF32, "F32", 1, 4, 0},
    {DType::kF16, "F16", 1, 2, 1},
    {DType::kBF16, "BF16", 1, 2, 30},
    {DType::kQ4_0, "Q4_0", 32, 18, 2},
    {DType::kQ4_1, "Q4_1", 32, 20, 3},
    {DType::kQ5_0, "Q5_0", 32, 22, 6},
    {DType::kQ5_1, "Q5_1", 32, 24, 7},
    {DType::kQ8_0, "Q8_0", 32, 34, 8},
    {DType::kQ2_K, "Q2_K", 256, 84, 10},
    {DType::kQ3_K, "Q3_K", 256, 110, 11},
    {DType::kQ4_K, "Q4_K", 256, 144, 12},
    {DType::kQ5_K, "Q5_K", 256, 176, 13},
    {DType::kQ6_K, "Q6_K", 256, 210, 14},
    {DType::kIQ4_NL, "IQ4_NL", 32, 18, 20},
    {DType::kIQ4_XS, "IQ4_XS", 256, 136, 23},
    {DType::kMXFP4, "MXFP4", 32, 17, 39},
    {DType::kF8_B128, "F8_B128", 128, 132, -1},
    {DType::kI4_B32, "I4_B32", 32, 20, -1},
    {DType::kI4_Z32, "I4_Z32", 32, 21, -1},
    {DType::kI8_B32, "I8_B32", 32, 36, -1},
    {DType::kF8_E4M3, "F8_E4M3", 1, 1, -1},
    {DType::kI8, "I8", 1, 1, -1},
    {DType::kU8, "U8", 1, 1, -1},
    {DType::kI32, "I32", 1, 4, -1},
    {DType::kI64, "I64", 1, 8, -1},
};

}  // namespace

const DTypeInfo& info(DType type) {
  const auto index = static_cast<size_t>(type);
  ASSERT(index < kStoredDTypeCount && kTypes[index].type == type, "dtype {}", index);
  return kTypes[index];
}

bool decodes_alone(DType type) {
  return static_cast<int>(type) < kDTypeCount;
}

std::optional<DType> dtype_from_gguf(uint32_t gguf_id) {
  for (const DTypeInfo& t : kTypes)
    if (t.gguf_id >= 0 && static_cast<uint32_t>(t.gguf_id) == gguf_id) return t.type;
  return std::nullopt;
}

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeInfo& t : kTypes)
    if (t.name == name) return t.type;
  return std::nullopt;
}

int64_t bytes_of(DType type, int64_t values) {
  return div_exact(values, info(type).block_values) * info(type).block_bytes;
}

}  // namespace sluice::core
