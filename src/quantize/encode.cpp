#include "quantize/encode.h"

#include <cstring>

#include "core/math.h"
#include "kernels/half.h"
#include "quantize/block_encoders.h"

namespace sluice::quantize {
namespace {

using core::DType;

void encode_f32(const float* x, uint8_t* block) {
  std::memcpy(block, x, sizeof *x);
}
void encode_f16(const float* x, uint8_t* block) {
  kernels::store_u16(block, kernels::f16_of_float(*x));
}
void encode_bf16(const float* x, uint8_t* block) {
  kernels::store_u16(block, kernels::bf16_of_float(*x));
}

struct Encoder {
  DType type;
  void (*encode_block)(const float* x, uint8_t* block);
};
constexpr Encoder kEncoders[] = {
    {DType::kF32, encode_f32},   {DType::kF16, encode_f16},   {DType::kBF16, encode_bf16},
    {DType::kQ8_0, encode_q8_0}, {DType::kQ6_K, encode_q6_k}, {DType::kQ5_K, encode_q5_k},
    {DType::kQ5_1, encode_q5_1}, {DType::kQ5_0, encode_q5_0}, {DType::kQ4_K, encode_q4_k},
    {DType::kQ4_1, encode_q4_1}, {DType::kQ4_0, encode_q4_0},
};

const Encoder* find(DType type) {
  for (const Encoder& e : kEncoders)
    if (e.type == type) return &e;
  return nullptr;
}

}  // namespace

bool can_encode(DType type) {
  return find(type) != nullptr;
}

std::string encodable_types() {
  std::string names;
  for (const Encoder& e : kEncoders) {
    if (!names.empty()) names += ", ";
    names += core::info(e.type).name;
  }
  return names;
}

void encode(DType type, const float* values, int64_t count, std::byte* blocks) {
  const Encoder* encoder = find(type);
  ASSERT(encoder != nullptr, "no encoder of {}", core::info(type).name);
  const core::DTypeInfo& info = core::info(type);
  auto* out = reinterpret_cast<uint8_t*>(blocks);
  for (int64_t block = 0; block < core::div_exact(count, info.block_values); ++block)
    encoder->encode_block(values + block * info.block_values, out + block * info.block_bytes);
}

}  // namespace sluice::quantize
