#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/vector.h"
// After the vector that it is written in.
#include "kernels/cpu/generic/linear_float.inc"

namespace sluice::kernels::avx512 {

void linear(const LinearArgs& args, int thread, int threads) {
  linear_any(args, thread, threads);
}

}  // namespace sluice::kernels::avx512
