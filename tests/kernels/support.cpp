#include "tests/kernels/support.h"

#include <cpuid.h>

#include "kernels/half.h"

namespace sluice::kernels {
namespace {

using core::DType;

// Byte offsets of a block's f16 scales, and the size of a scale that gives values around 1.
struct ScalesOf {
  std::vector<int> offsets;
  float size = 0;
};
ScalesOf scales_of(DType type) {
  switch (type) {
    case DType::kQ4_0:
    case DType::kQ5_0:
      return {{0}, 0.1f};
    case DType::kQ4_1:
    case DType::kQ5_1:
      return {{0, 2}, 0.1f};
    case DType::kQ8_0:
    case DType::kIQ4_NL:
      return {{0}, 0.01f};
    case DType::kQ2_K:
      return {{80, 82}, 0.05f};
    case DType::kQ3_K:
      return {{108}, 0.01f};
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {{0, 2}, 0.002f};
    case DType::kQ6_K:
      return {{208}, 0.0005f};
    case DType::kIQ4_XS:
      return {{0}, 0.0005f};
    default:
      return {};
  }
}

// XGETBV says which registers are not as they were first. Debug builds leave vzeroupper out.
bool says_what_is_in_use() {
#ifdef SLUICE_DEBUG_ASSERT
  return false;
#else
  uint32_t a = 0, b = 0, c = 0, d = 0;
  constexpr uint32_t kXgetbvOfOne = 1 << 2;
  return core::detect_cpu().avx2 && __get_cpuid_count(13, 1, &a, &b, &c, &d) != 0 &&
         (a & kXgetbvOfOne) != 0;
#endif
}
const bool kSaysWhatIsInUse = says_what_is_in_use();

}  // namespace

void clear_upper_halves() {
  if (kSaysWhatIsInUse) asm volatile("vzeroupper");
}
bool upper_halves_in_use() {
  if (!kSaysWhatIsInUse) return false;
  uint32_t in_use = 0, high = 0;
  asm volatile("xgetbv" : "=a"(in_use), "=d"(high) : "c"(1));
  constexpr uint32_t kYmm = 1 << 2, kZmm = 1 << 6;  // of registers 0 to 15
  return (in_use & (kYmm | kZmm)) != 0;
}

std::vector<std::byte> random_blocks(core::Rng& rng, DType type, int64_t values) {
  std::vector<std::byte> bytes(static_cast<size_t>(core::bytes_of(type, values)));
  if (type == DType::kF32 || type == DType::kF16 || type == DType::kBF16) {
    for (int64_t i = 0; i < values; ++i) {
      const float value = normal(rng);
      if (type == DType::kF32) std::memcpy(&bytes[static_cast<size_t>(i) * 4], &value, 4);
      if (type == DType::kF16) store_u16(&bytes[static_cast<size_t>(i) * 2], f16_of_float(value));
      if (type == DType::kBF16)
        store_u16(&bytes[static_cast<size_t>(i) * 2],
                  static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
    }
    return bytes;
  }
  for (std::byte& b : bytes) b = static_cast<std::byte>(rng.bits());
  if (type == DType::kF8_B128) {
    for (size_t block = 0; block < bytes.size(); block += 132) {
      for (size_t i = 4; i < 132; ++i)  // no NaN
        if ((bytes[block + i] & std::byte{0x7f}) == std::byte{0x7f}) bytes[block + i] = {};
      const float scale = 0.01f * normal(rng);
      std::memcpy(&bytes[block], &scale, sizeof scale);
    }
    return bytes;
  }
  const core::DTypeInfo& info = core::info(type);
  if (type == DType::kMXFP4) {
    for (size_t block = 0; block < bytes.size(); block += 17)
      bytes[block] = std::byte(110 + rng.below(6));
    return bytes;
  }
  if (type == DType::kI4_B32 || type == DType::kI4_Z32 || type == DType::kI8_B32) {
    float scale = 0;
    for (size_t block = 0; block < bytes.size(); block += static_cast<size_t>(info.block_bytes)) {
      // One scale of a row of whole blocks is one of all rows here, whatever their length.
      if (type != DType::kI8_B32 || block == 0) scale = 0.01f * normal(rng);
      std::memcpy(&bytes[block], &scale, sizeof scale);
      if (type == DType::kI4_Z32) bytes[block + 4] &= std::byte{15};
    }
    return bytes;
  }
  const ScalesOf scales = scales_of(type);
  for (size_t block = 0; block < bytes.size(); block += static_cast<size_t>(info.block_bytes))
    for (int offset : scales.offsets)
      store_u16(&bytes[block + static_cast<size_t>(offset)],
                f16_of_float(scales.size * normal(rng)));
  return bytes;
}

std::vector<float> run_linear(const Ops& ops, const PackedWeights& weights,
                              const LinearCase& with) {
  core::Buffer packed;
  const ActivationForm form = ops.activation_form(weights.type);
  if (form != ActivationForm::kF32) {
    packed = buffer_of(ops.activation_bytes(form, with.rows, weights.inputs));
    run_all(ops.quantize_activations,
            QuantizeArgs{form, with.x, with.rows, weights.inputs, packed.data()}, with.threads);
  }
  std::vector<float> y(static_cast<size_t>(with.rows * weights.outputs), -7);
  for (int portion = with.portions - 1; portion >= 0; --portion)
    run_all(ops.linear,
            LinearArgs{.weights = weights,
                       .x = with.x,
                       .x_packed = packed.data(),
                       .rows = with.rows,
                       .bias = with.bias,
                       .residual = with.residual,
                       .y = y.data(),
                       .portion = {portion, with.portions}},
            with.threads);
  return y;
}

}  // namespace sluice::kernels
