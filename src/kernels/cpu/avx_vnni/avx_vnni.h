// Linear layers with AVX-VNNI; registry.cpp joins them with the ops of avx2.
#pragma once

#include "kernels/ops.h"

namespace sluice::kernels::avx_vnni {

void linear(const LinearArgs& args, int thread, int threads);

}  // namespace sluice::kernels::avx_vnni
