// Linear layers on the tile unit (AMX), in bf16; registry.cpp joins them with the ops of avx512.
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels::amx {

// Asks the kernel for this process's tile registers, which no thread may touch before; false where
// it refuses. Any number of calls.
bool request_tiles();

// F16 and BF16 weights become bf16 tiles (F16 loses three bits); the others as cpu::pack.
int64_t packed_bytes(core::DType type, int64_t outputs, int64_t inputs);
void pack(const PackArgs& args, int thread, int threads);

// bf16 for all types but F32.
ActivationForm activation_form(core::DType weights);
int64_t activation_bytes(int64_t rows, int64_t inputs);
void quantize_activations(const QuantizeArgs& args, int thread, int threads);

void linear(const LinearArgs& args, int thread, int threads);

}  // namespace sluice::kernels::amx
