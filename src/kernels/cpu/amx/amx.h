// Linear layers on the tile unit (AMX); registry.cpp joins them with the ops of avx512.
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels::amx {

// Asks the kernel for this process's tile registers, which no thread may touch before; false where
// it refuses. Any number of calls.
bool request_tiles();

// Same packed weights and activations as avx512, same bits.
void linear(const LinearArgs& args, int thread, int threads);

}  // namespace sluice::kernels::amx
