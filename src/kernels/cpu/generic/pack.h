// Repacking of weights for the vector kernels: the same bytes for every processor.
#pragma once

#include <array>

#include "kernels/ops.h"

namespace sluice::kernels::cpu {

// F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q4_K to Q6_K keep every bit; I4_B32, I4_Z32,
// I8_B32 and MXFP4 every code, scales and scale · zero becoming f16. The others
// (Q2_K, Q3_K, IQ4_NL, IQ4_XS) are decoded and stored as Q8_0: a value moves by at most 1.01
// · max |block of 32| / 254, as long as that step is a normal f16.
int64_t packed_bytes(core::DType type, int64_t outputs, int64_t inputs);
void pack(const PackArgs& args, int thread, int threads);

ActivationForm activation_form(core::DType weights);
int64_t activation_bytes(ActivationForm form, int64_t rows, int64_t inputs);

// The formats of pages that avx2 and avx512 read: all but bf16.
bool reads_kv(KvFormat format, int32_t head_dim);

// One block of 32 of one output: its lane of each code vector (packed.h), and its scale and minimum
// (f16 bits, or the u8 of a super-block; of Q6_K two i8, the second in the high byte).
struct LaneBlock {
  std::array<uint32_t, 8> words{};
  uint16_t scale = 0;
  uint16_t minimum = 0;
};
// Block `index` of a row of the file, for types that keep their bits.
LaneBlock read_block(core::DType type, const uint8_t* row, int64_t index);

}  // namespace sluice::kernels::cpu
