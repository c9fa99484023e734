// Linear layers of bf16 weights with AVX512_BF16; registry.cpp joins them with the ops of
// avx512_vnni.
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels::avx512_bf16 {

// BF16 weights lie in panels of 16 outputs, of each the values two by two: (pairs, 16, 2). All
// other types are as cpu::pack has them.
int64_t packed_bytes(core::DType type, int64_t outputs, int64_t inputs);
void pack(const PackArgs& args, int thread, int threads);

// bf16 for BF16 weights: rows of whole 64 bytes, zeros behind the inputs.
ActivationForm activation_form(core::DType weights);
int64_t activation_bytes(ActivationForm form, int64_t rows, int64_t inputs);
void quantize_activations(const QuantizeArgs& args, int thread, int threads);

void linear(const LinearArgs& args, int thread, int threads);

}  // namespace sluice::kernels::avx512_bf16
