// Linear layers with AVX-VNNI; registry.cpp joins them with the ops of avx2.
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels::avx_vnni {

void linear(const LinearArgs& args, int thread, int threads);

// Keeps the units of the dot product busy; returns the operations done. `sink` is for the
// optimiser.
int64_t probe_int8(int64_t rounds, int32_t* sink);

}  // namespace sluice::kernels::avx_vnni
