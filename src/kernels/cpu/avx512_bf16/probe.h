// Probe of the bf16 dot product (AVX512_BF16).
#pragma once

#include <cstdint>

namespace sluice::kernels::avx512_bf16 {

// Keeps the bf16 units busy; returns the operations done. `sink` is for the optimiser.
int64_t probe_bf16(int64_t rounds, int32_t* sink);

}  // namespace sluice::kernels::avx512_bf16
